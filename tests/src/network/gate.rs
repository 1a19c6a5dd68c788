//! The proxy in front of one broker, or of the controller.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use super::{Cuts, End};

const CHUNK_BYTES: usize = 64 << 10;
const READINGS: usize = 20;

pub(super) struct Gate {
    listener: TcpListener,
    /// Whose gate it is.
    to: End,
    inside: SocketAddr,
}

impl Gate {
    pub(super) async fn open(to: End, inside: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self {
            listener: listener.expect("there is a free port"),
            to,
            inside,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    pub(super) async fn serve(self, pids: Arc<Mutex<Vec<u32>>>, cuts: watch::Receiver<Cuts>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((outside, peer)) = accepted else { continue };
                    let ends = [peer, self.address()];
                    let (pids, cuts) = (Arc::clone(&pids), cuts.clone());
                    let (inside, to) = (self.inside, self.to);
                    connections.spawn(async move {
                        // Nobody's: the process has ended meanwhile.
                        if let Some(from) = owner(ends, &pids).await {
                            carry(outside, End::Broker(from), inside, to, cuts).await;
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Until either side ends.
async fn carry(
    outside: TcpStream,
    from: End,
    inside: SocketAddr,
    to: End,
    cuts: watch::Receiver<Cuts>,
) {
    let Ok(inside) = TcpStream::connect(inside).await else {
        return;
    };
    for stream in [&outside, &inside] {
        stream.set_nodelay(true).expect("it is a TCP socket");
    }
    let (outside_read, outside_write) = outside.into_split();
    let (inside_read, inside_write) = inside.into_split();
    tokio::select! {
        () = pump(outside_read, inside_write, (from, to), cuts.clone()) => {}
        () = pump(inside_read, outside_write, (to, from), cuts) => {}
    }
}

/// Moves bytes in one direction as long as it is not cut.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: (End, End),
    mut cuts: watch::Receiver<Cuts>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let is_open = |cuts: &Cuts| !cuts.contains(&direction);
        let open = cuts.wait_for(is_open).await.is_ok();
        if !open || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// The index of the process that holds the socket with these two ends, its own first.
///
/// The kernel's table is not read at one instant: a socket can be missing from one reading while others come and go.
async fn owner(ends: [SocketAddr; 2], pids: &Mutex<Vec<u32>>) -> Option<usize> {
    let mut readings = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..READINGS {
        readings.tick().await;
        let known = pids.lock().expect("nobody panicked with it").clone();
        let holder = inode(ends).and_then(|inode| holder(&inode, &known));
        if holder.is_some() {
            return holder;
        }
    }
    None
}

fn holder(inode: &str, pids: &[u32]) -> Option<usize> {
    let socket = format!("socket:[{inode}]");
    pids.iter().position(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        open.flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    })
}

/// The kernel's number of the socket with these two ends.
///
/// Both count: several sockets share a local address when they are connected to different ones.
fn inode(ends: [SocketAddr; 2]) -> Option<String> {
    let [local, remote] = [in_table(ends[0])?, in_table(ends[1])?];
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(1..3) == Some(&[local.as_str(), remote.as_str()]))?;
    Some((*line.get(9)?).to_owned())
}

/// An address the way the kernel's table has it.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let ip = u32::from_le_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    async fn echo(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                // It ends with the connection.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    }

    #[tokio::test]
    async fn what_is_cut_waits_and_arrives_once_it_is_healed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let gate = Gate::open(End::Broker(1), listener.local_addr().expect("bound")).await;
        let address = gate.address();
        tokio::spawn(echo(listener));
        let cuts = watch::Sender::new(Cuts::new());
        // Broker 0 is this process.
        let pids = Arc::new(Mutex::new(vec![std::process::id()]));
        tokio::spawn(gate.serve(pids, cuts.subscribe()));
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        for (from, to) in [(0, 1), (1, 0)] {
            let direction = (End::Broker(from), End::Broker(to));
            let mut byte = [0];
            stream.write_all(b"a").await.expect("open");
            stream.read_exact(&mut byte).await.expect("open");
            cuts.send_modify(|cuts| {
                cuts.insert(direction);
            });
            stream.write_all(b"b").await.expect("open");
            let silence = timeout(Duration::from_millis(100), stream.read_exact(&mut byte)).await;
            assert!(silence.is_err(), "{direction:?} is cut, and {byte:?} came");
            cuts.send_modify(Cuts::clear);
            let healed = timeout(crate::wait::PATIENCE, stream.read_exact(&mut byte)).await;
            healed.expect("in time").expect("open");
            assert_eq!(&byte, b"b");
        }
    }
}
