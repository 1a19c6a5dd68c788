"""Apache Kafka, pinned in kafka/pom.xml, with the best settings found for this work."""
import os
import re
import shutil
import signal
import socket
import struct
import time

from measure import Sample, settle, sh, spawn, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("TAFFRAIL_CACHE", os.path.expanduser("~/.cache/taffrail")), "bench")
LIB = os.path.join(CACHE, "kafka")
# The flags of Kafka's own kafka-run-class.sh and kafka-server-start.sh.
GC = ("-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
      "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true").split()
LOG = f"-Dlog4j2.configurationFile={HERE}/kafka/log4j2.properties"
CLASSPATH = f"{LIB}/tools:{LIB}/lib/*"
BROKER = ["java", "-Xms1G", "-Xmx1G", *GC, LOG, "-cp", CLASSPATH, "kafka.Kafka"]
TOOL = ["java", "-Xmx1G", *GC, LOG, "-cp", CLASSPATH]
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
TUNED = ["acks=all", "batch.size=262144", "linger.ms=5", "buffer.memory=134217728", "max.request.size=2097152"]
# What the cleaner logs of a pass; its MB are MiB.
CLEANED = re.compile(r"of log processed in [\d.,]+ seconds \(([\d.,]+) MB/sec\).*?Start size: ([\d.,]+) MB.*?End size: ([\d.,]+) MB", re.DOTALL)
TUNED_PARTS = ["acks=all", "linger.ms=5", "batch.size=16384", "buffer.memory=134217728"]


def prepare():
    """Fetches the jars and compiles the tool, once."""
    os.makedirs(f"{LIB}/tools", exist_ok=True)
    if not os.path.isdir(f"{LIB}/lib"):
        sh(["mvn", "-B", "-q", "-f", f"{HERE}/kafka/pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={LIB}/lib.new", "-DincludeScope=runtime"])
        os.rename(f"{LIB}/lib.new", f"{LIB}/lib")
    source, compiled = f"{HERE}/kafka/E2E.java", f"{LIB}/tools/E2E.class"
    if not os.path.exists(compiled) or os.path.getmtime(compiled) < os.path.getmtime(source):
        sh(["javac", "-cp", f"{LIB}/lib/*", "-d", f"{LIB}/tools", source])


def payload(size):
    """A file of 1,000 distinct records: with --record-size the tool draws every byte at random and measures mostly that."""
    path = f"{CACHE}/payload{size}.txt"
    if not os.path.exists(path):
        import random
        r = random.Random(1)
        with open(path, "w") as f:
            f.writelines("".join(chr(r.randrange(65, 91)) for _ in range(size)) + "\n" for _ in range(1000))
    return path


class Kafka:
    """One node, or three that are brokers and controllers at once, with three replicas and min.insync.replicas=2."""

    name = "kafka"

    def __init__(self, work, port, nodes=1, **config):
        self.dir, self.processes, self.topics = f"{work}/kafka-{port}", [], 0
        self.ports = [port + 10 * i for i in range(nodes)]
        self.replicas = min(3, nodes)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        voters = ",".join(f"{i + 1}@127.0.0.1:{p + 1}" for i, p in enumerate(self.ports))
        for i, p in enumerate(self.ports):
            settings = {
                "process.roles": "broker,controller", "node.id": i + 1, "controller.quorum.voters": voters,
                "listeners": f"PLAINTEXT://127.0.0.1:{p},CONTROLLER://127.0.0.1:{p + 1}",
                "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT", "log.dirs": f"{self.dir}/data{i}",
                "offsets.topic.replication.factor": self.replicas, "transaction.state.log.replication.factor": self.replicas,
                "transaction.state.log.min.isr": max(1, self.replicas - 1), "min.insync.replicas": max(1, self.replicas - 1),
                "group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "false",
                "log.segment.delete.delay.ms": 1000, **config,
            }
            with open(self.config(i), "w") as f:
                f.writelines(f"{k}={v}\n" for k, v in settings.items())
            sh([*TOOL, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self.config(i)])
        self.boot = ",".join(f"127.0.0.1:{p}" for p in self.ports)

    def config(self, node):
        return f"{self.dir}/server{node}.properties"

    def start(self):
        t0 = time.time()
        self.processes = [spawn([*BROKER, self.config(i)], f"{self.dir}/log{i}") for i in range(len(self.ports))]
        wait_for(lambda: all(live_brokers(p) >= len(self.ports) for p in self.ports))
        return time.time() - t0

    def stop(self, sig=signal.SIGTERM):
        for process in self.processes:
            process.send_signal(sig)
        for process in self.processes:
            process.wait(120)

    @property
    def pids(self):
        return [process.pid for process in self.processes]

    def topic(self, partitions=1, segment_bytes=None):
        self.topics += 1
        name = f"t{self.topics}"
        more = [f"segment.bytes={segment_bytes}"] if segment_bytes else []
        sh([*TOOL, "E2E", "topic", self.boot, name, str(partitions), str(self.replicas), *more])
        return name

    def delete(self, topic):
        sh([*TOOL, "E2E", "delete", self.boot, topic])

    def produce(self, topic, records, size, partitions=1):
        settle()
        with Sample(self.pids) as s:
            out = sh([*TOOL, "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", self.boot, "--topic", topic, "--num-records", str(records),
                      "--payload-file", payload(size), "--throughput", "-1", "--command-property", *(TUNED if partitions == 1 else TUNED_PARTS)])
        last = [line for line in out.splitlines() if "99.9th" in line][-1]
        rate = float(re.search(r"([\d.]+) records/sec", last)[1])
        return {"mb_s": rate * size / 1e6, "records_s": rate, "cpu_gb": s.broker / (records * size / 1e9), "other": s.other}

    def consume(self, topic, records, size, quiet=True):
        if quiet:
            settle()
        with Sample(self.pids) as s:
            out = sh([*TOOL, "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", self.boot, "--topic", topic, "--num-records", str(records),
                      "--hide-header", "--fetch-size", "10485760", "--command-property", "max.poll.records=5000"])
        fields = [line for line in out.splitlines() if line.count(",") >= 9][-1].split(",")
        ms, got = float(fields[7]), int(fields[4])  # fetch time: without the group join
        assert got >= records, out
        return {"mb_s": got * size / 1e6 / (ms / 1e3), "cpu_gb": s.broker / (got * size / 1e9), "other": s.other}

    def latency(self, topic, rate, records, quiet=True):
        """Not `quiet`: beside something else, which is not waited for."""
        if quiet:
            settle()
        m = re.search(r"e2e (\d+) (\d+) (\d+) (\d+) (\d+)", sh([*TOOL, "E2E", "e2e", self.boot, topic, str(rate), "5000", str(records), "1000"]))
        return dict(zip(("p50", "p99", "p999", "max"), (int(x) / 1000 for x in m.groups()[1:])))

    def keyed(self, topic, records, size, keys):
        """Records with one of so many keys each, drawn at random."""
        sh([*TOOL, "E2E", "keyed", self.boot, topic, str(records), str(size), str(keys), *TUNED])

    def compact(self, topic):
        """One pass over the closed segments of a topic that was not compacted so far; its time is what Kafka logs."""
        settle()
        log = f"{self.dir}/log0"
        begin = os.path.getsize(log)
        found = []

        def cleaned():
            with open(log) as f:
                f.seek(begin)
                found[:] = [CLEANED.search(f.read().partition(f"cleaned log {topic}-0 ")[2])]
            return found[0]

        with Sample(self.pids) as s:
            sh([*TOOL, "E2E", "alter", self.boot, topic, "cleanup.policy=compact", "min.cleanable.dirty.ratio=0.01"])
            wait_for(cleaned, step=0.1)
        rate, before, after = (float(x.replace(",", "")) * 1.048576 for x in found[0].groups())
        return {"mb_s": rate, "mb": before, "kept": after / before, "cpu_gb": s.broker / (before / 1e3), "other": s.other}

    def gap(self, topic, rate, seconds, size=1000):
        """Longest time between two acknowledgements, in ms, of records sent at `rate` a second."""
        acked, failed, longest = re.search(r"gap (\d+) (\d+) (\d+)", sh([*TOOL, "E2E", "gap", self.boot, topic, str(rate), str(seconds), str(size)])).groups()
        assert int(acked) > 0 and int(failed) == 0, (acked, failed)
        return int(longest)

    def commits(self, topic, members, commits):
        """Offset commits of one group, each of one partition and awaited."""
        settle()
        rate, p50, p99 = map(int, re.search(r"commits (\d+) (\d+) (\d+)", sh([*TOOL, "E2E", "commits", self.boot, topic, str(members), str(commits)])).groups())
        return {"per_s": rate, "p50": p50 / 1000, "p99": p99 / 1000}

    def leader(self, topic):
        """The node that leads the topic's only partition, once every replica is in sync."""
        return int(re.search(r"leader (\d+)", sh([*TOOL, "E2E", "leader", self.boot, topic, str(self.replicas)]))[1]) - 1

    def kill(self, node, sig):
        self.processes[node].send_signal(sig)
        self.processes[node].wait(120)

    def revive(self, node):
        self.processes[node] = spawn([*BROKER, self.config(node)], f"{self.dir}/log{node}")
        wait_for(lambda: all(live_brokers(p) >= len(self.ports) for p in self.ports))


def live_brokers(port):
    """Live brokers in a Metadata v4 answer: the node takes client traffic and is unfenced."""
    with socket.create_connection(("127.0.0.1", port), 2) as s:
        s.settimeout(2)
        m = struct.pack(">hhih", 3, 4, 1, 1) + b"x" + struct.pack(">ib", 0, 0)
        s.sendall(struct.pack(">i", len(m)) + m)
        data = b""
        while len(data) < 16:
            more = s.recv(4096)
            if not more:
                return 0
            data += more
        return struct.unpack(">i", data[12:16])[0]
