"""Taffrail: `taffrail dev`, which is the controller and the broker in one process, or the controller and a process for each of several brokers; and
`taffrail bench` as the client."""
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

from measure import Sample, settle, sh, spawn, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target"), "release/taffrail")

PASSES = 'taffrail_broker_compactions_total{outcome="done"}'
PASS_SECONDS = "taffrail_broker_compaction_seconds_sum"
PASS_BYTES = "taffrail_broker_compaction_cleaned_bytes_total"
REMOVED_BYTES = "taffrail_broker_compaction_removed_bytes_total"


def prepare():
    sh(["cargo", "build", "--release", "--bin", "taffrail"], cwd=ROOT)


class Taffrail:
    name = "taffrail"

    def __init__(self, work, port, brokers=1, config=""):
        self.dir, self.port, self.process, self.topics, self.specs = f"{work}/taffrail-{port}", port, None, 0, {}
        self.brokers, self.replicas = brokers, min(3, brokers)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        with open(f"{self.dir}/broker.toml", "w") as f:
            f.write(config)
        self.env = {**os.environ, "TAFFRAIL_SERVER": f"127.0.0.1:{port}"}

    def start(self, topic=None):
        """Seconds from spawn until a client can work: with `topic`, until a first record is acknowledged."""
        t0 = time.time()
        self.process = spawn([BINARY, "dev", "--brokers", str(self.brokers), "--data-dir", f"{self.dir}/data", "--listen", f"127.0.0.1:{self.port}",
                              "--http-listen", f"127.0.0.1:{self.port + 4}",
                              "--broker-config", f"{self.dir}/broker.toml"], f"{self.dir}/log")
        wait_for(lambda: self.brokers_online() == self.brokers if topic is None else self.produced_one(topic))
        return time.time() - t0

    def brokers_online(self):
        r = subprocess.run([BINARY, "get", "brokers", "-o", "json"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return r.stdout.count('"ONLINE"') if r.returncode == 0 else 0

    def produced_one(self, topic):
        return subprocess.run([BINARY, "produce", topic, "-"], env=self.env, input=b"x\n", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait(120)

    @property
    def pids(self):
        """The controller's process, and those of brokers beside it."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE, text=True).stdout
        return [self.process.pid, *(int(pid) for pid in children.split())]

    def topic(self, **spec):
        self.topics += 1
        name = f"t{self.topics}"
        self.specs[name] = spec
        self.apply(name, **spec)
        return name

    def apply(self, name, partitions=1, durability="PageCache", replicas=None, segment_bytes=256 << 20, cleanup="Delete"):
        manifest = f"{self.dir}/{name}.yaml"
        with open(manifest, "w") as f:
            f.write(f"apiVersion: taffrail.dev/v1alpha1\nkind: Topic\nmetadata: {{ name: {name} }}\n"
                    f"spec: {{ partitions: {partitions}, replicas: {replicas or self.replicas}, durability: {durability}, deletionPolicy: Delete, "
                    f"segment: {{ bytes: \"{segment_bytes}\" }}, cleanup: {cleanup} }}\n")
        sh([BINARY, "apply", "-f", manifest], env=self.env)

    def delete(self, name):
        sh([BINARY, "delete", name], env=self.env)

    def groups(self):
        r = subprocess.run([BINARY, "groups", "list", "-o", "json"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(r.stdout)["items"] if r.returncode == 0 else []

    def commits(self, topic, groups, members, commits):
        """Offset commits, each of one partition and awaited."""
        settle()
        command = [BINARY, "bench", "commit", topic, "--groups", str(groups), "--members", str(members), "--commits", str(commits), "--json"]
        r = json.loads(sh(command, env=self.env))
        return {"per_s": r["commits_per_s"], "p50": r["latency_ms"]["p50"], "p99": r["latency_ms"]["p99"]}

    def consume_cpu(self, topic, records, size, *more):
        """CPU seconds of broker and client for a GB."""
        _, s = self.bench("consume", topic, records, size, *more)
        return (s.broker + s.client) / (records * size / 1e9)

    def metrics(self):
        """Of the only broker, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 4}/metrics", timeout=5) as answer:
            lines = (line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
            return {name: float(value) for name, value in lines}

    def keyed(self, topic, records, size, keys):
        """Records with one of so many keys each, drawn at random."""
        sh([BINARY, "bench", "produce", topic, "--records", str(records), "--size", str(size), "--keys", str(keys), "--batch-bytes", "256Ki", "--linger", "5ms",
            "--json"], env=self.env)

    def begin_compaction(self, topic):
        """Of all that is in sealed segments. Gives the metrics before."""
        before = self.metrics()
        self.apply(topic, **self.specs[topic], cleanup="Compact")
        return before

    def has_compacted(self, before):
        return self.metrics()[PASSES] > before[PASSES]

    def compact(self, topic):
        """One pass over the sealed segments of a topic that was not compacted so far; its time is a metric."""
        settle()
        with Sample(self.pids) as s:
            before = self.begin_compaction(topic)
            wait_for(lambda: self.has_compacted(before), step=0.1)
        after = self.metrics()
        seconds, cleaned, removed = (after[name] - before[name] for name in (PASS_SECONDS, PASS_BYTES, REMOVED_BYTES))
        return {"mb_s": cleaned / 1e6 / seconds, "mb": cleaned / 1e6, "kept": 1 - removed / cleaned, "cpu_gb": s.broker / (cleaned / 1e9), "grown_mb": s.grown_mb,
                "other": s.other}

    def bench(self, what, topic, records, size, *more, quiet=True):
        if quiet:
            settle()
        with Sample(self.pids) as s:
            out = sh([BINARY, "bench", what, topic, "--records", str(records), "--size", str(size), "--json", *more], env=self.env)
        return json.loads(out), s

    def produce(self, topic, records, size, partitions=1):
        r, s = self.bench("produce", topic, records, size, "--batch-bytes", "512Ki", "--linger", "5ms")
        return {"mb_s": r["mb_per_s"], "records_s": r["records_per_s"], "cpu_gb": s.broker / (records * size / 1e9), "other": s.other}

    def consume(self, topic, records, size, quiet=True):
        r, s = self.bench("consume", topic, records, size, quiet=quiet)
        return {"mb_s": r["mb_per_s"], "cpu_gb": s.broker / (records * size / 1e9), "other": s.other}

    def gap(self, topic, rate, seconds, size=1000):
        """Longest time between two acknowledgements, in ms, of records sent at `rate` a second."""
        out = sh([BINARY, "bench", "produce", topic, "--rate", str(rate), "--records", str(rate * seconds), "--size", str(size), "--json"], env=self.env)
        return json.loads(out)["longest_gap_ms"]

    def load(self, topic, rate, seconds, size=1000):
        """What `gap` runs, beside whatever else is done. The first record that fails ends it."""
        return subprocess.Popen([BINARY, "bench", "produce", topic, "--rate", str(rate), "--records", str(rate * seconds), "--size", str(size), "--json"],
                                env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def roll(self, number, topic):
        """Stops a broker in order; `taffrail dev` starts it again. Until every replica of the topic is in sync."""
        def process():
            return next((b["processId"] for b in self.list("brokers") if b["number"] == number and b["state"] == "ONLINE"), None)

        old = process()
        os.kill(old, signal.SIGTERM)
        wait_for(lambda: not os.path.exists(f"/proc/{old}") and self.brokers_online() == self.brokers and process() not in (None, old))
        wait_for(lambda: all(len(p["isr"]) == self.replicas for p in self.list("partitions", topic)))

    def list(self, *what):
        return json.loads(sh([BINARY, "get", *what, "-o", "json"], env=self.env))["items"]

    def leader(self, topic):
        """The process of the broker that leads the topic's only partition, once every replica is in sync."""
        found = []

        def in_sync():
            partition = self.list("partitions", topic)[0]
            found[:] = [b["processId"] for b in self.list("brokers") if b["number"] == partition["leader"] and b["state"] == "ONLINE"]
            return found and len(partition["isr"]) == self.replicas

        wait_for(in_sync)
        return found[0]

    def kill(self, pid, sig):
        os.kill(pid, sig)

    def revive(self, _pid):
        """`taffrail dev` starts a broker that ended again."""
        wait_for(lambda: self.brokers_online() == self.brokers)

    def latency(self, topic, rate, records, *more, quiet=True):
        """Not `quiet`: beside something else, which is not waited for."""
        r, _ = self.bench("latency", topic, records, 1000, *(["--rate", str(rate)] if rate else []), "--linger", "0ms", *more, quiet=quiet)
        return {k: r["latency_ms"][k] for k in ("p50", "p99", "p999", "max")}
