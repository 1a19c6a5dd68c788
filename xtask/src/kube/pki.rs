//! Throw-away keys and certificates for one cluster, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::shell;

const DAYS: &str = "30";

/// A folder with `ca`, `apiserver` and `admin` (`.key`, `.crt`) and the service accounts' key pair `sa.key`, `sa.pub`.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes all of it for an API server reached at `addresses`.
    ///
    /// # Errors
    /// If openssl fails.
    pub fn create(dir: &Path, addresses: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let pki = Self {
            dir: dir.to_owned(),
        };
        pki.key("sa")?;
        pki.openssl(&["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;
        pki.key("ca")?;
        pki.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-subj",
            "/CN=kube-ca",
            "-days",
            DAYS,
            "-out",
            "ca.crt",
        ])?;
        let names = addresses.iter().map(|address| format!("IP:{address}"));
        let service = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
        ];
        let names: Vec<String> = names
            .chain(service.iter().map(|name| format!("DNS:{name}")))
            .collect();
        pki.certificate(
            "apiserver",
            "/CN=kube-apiserver",
            &format!("subjectAltName={}", names.join(",")),
        )?;
        pki.certificate(
            "admin",
            "/O=system:masters/CN=admin",
            "extendedKeyUsage=clientAuth",
        )?;
        Ok(pki)
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The flags of kube-apiserver that name the files.
    pub fn api_server_flags(&self) -> Vec<String> {
        [
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("client-ca-file", "ca.crt"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
        ]
        .map(|(flag, file)| format!("--{flag}={}", self.file(file).display()))
        .to_vec()
    }

    /// The administrator's way in, as a kubeconfig file at `path`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, server: &str) -> Result<()> {
        let file = |name: &str| self.file(name).display().to_string();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: k\n\
             clusters: [{{name: k, cluster: {{server: {server}, certificate-authority: {}}}}}]\n\
             users: [{{name: admin, user: {{client-certificate: {}, client-key: {}}}}}]\n\
             contexts: [{{name: k, context: {{cluster: k, user: admin}}}}]\n",
            file("ca.crt"),
            file("admin.crt"),
            file("admin.key"),
        );
        fs::write(path, text)?;
        Ok(())
    }

    fn key(&self, name: &str) -> Result<()> {
        let file = format!("{name}.key");
        self.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            &file,
        ])
    }

    fn certificate(&self, name: &str, subject: &str, extension: &str) -> Result<()> {
        self.key(name)?;
        let [key, request, certificate, extensions] =
            ["key", "csr", "crt", "ext"].map(|suffix| format!("{name}.{suffix}"));
        fs::write(self.file(&extensions), extension)?;
        self.openssl(&[
            "req", "-new", "-key", &key, "-subj", subject, "-out", &request,
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            DAYS,
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ])
    }

    fn openssl(&self, args: &[&str]) -> Result<()> {
        shell::output(Command::new("openssl").current_dir(&self.dir).args(args)).map(|_| ())
    }
}
