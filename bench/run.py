#!/usr/bin/env python3
"""Measures Taffrail and Apache Kafka on the same work, in turn (A B A B ...), and prints the ratios with their spread.

  bench/run.py [--pairs N] [--tiny] [SUITE ...]     suites: produce fsync small consume latency partitions retained cold restart memory replicated replicated_latency replicated_fsync failover rolling many catchup commits commits3 rebalance group_cpu idle_groups isolation coordinator compaction (default: all)

Needs java 17 or newer with javac, mvn, a Rust toolchain, and disk: all suites in one call keep about 120 GB, one suite at most 35; sends traffic to 127.0.0.1 only. One run says little on a shared
machine: compare the ratios, which are taken pair by pair, and look at their spread. MB = 10^6 bytes of payload; broker CPU is user + system of
the broker process over one whole client run."""
import argparse
import os
import shutil
import signal
import sys
import threading

sys.dont_write_bytecode = True
import compaction
import groups
import kafka_peer
import measure
import replication
import taffrail_peer
from compaction import Compaction
from groups import Groups
from kafka_peer import Kafka
from measure import MILLION, Sample, Table, column, memory_mb, once, pairs, settle, sh
from replication import Replication
from sizes import TINY, Sizes
from taffrail_peer import Taffrail

WORK = os.path.join(kafka_peer.CACHE, "run")
ALONE = (*replication.ALONE, *groups.ALONE, *compaction.ALONE)


class Suites(Replication, Groups, Compaction):
    def __init__(self, n, sizes):
        self.n, self.sizes, self.table, self.work = n, sizes, Table(), WORK
        self.taffrail = self.kafka = None

    def start(self):
        """One broker of each side, for the suites that have no brokers of their own."""
        if self.taffrail:
            return
        self.taffrail, self.kafka = Taffrail(WORK, 19640), Kafka(WORK, 19092)
        self.taffrail.start()
        self.kafka.start()
        for _ in range(3):  # a just started JVM costs twice the CPU of a warm one
            self.kafka.produce(self.kafka.topic(), MILLION, 1000)

    def produce(self):
        t, k = self.taffrail, self.kafka
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000), lambda: once(k, "produce", MILLION, 1000))
        self.table.add("produce 1 KB, background fsync", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 3, True)
        self.table.add("produce 1 KB, background fsync: broker CPU", "s/GB", column(a, "cpu_gb"), column(b, "cpu_gb"), 0.33, False)
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000, durability="Fsync"), lambda: once(k, "produce", MILLION, 1000))
        self.table.add("produce 1 KB with fsync, Kafka without", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 1.5, True)

    def fsync(self):
        t, k = self.taffrail, Kafka(WORK, 19192, **{"log.flush.interval.messages": 1})
        k.start()
        once(k, "produce", MILLION, 1000)
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000, durability="Fsync"), lambda: once(k, "produce", MILLION, 1000))
        k.stop()
        shutil.rmtree(k.dir, ignore_errors=True)
        self.table.add("produce 1 KB, fsync before acknowledging", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 3, True)

    def small(self):
        t, k = self.taffrail, self.kafka
        a, b = pairs(self.n, lambda: once(t, "produce", 5 * MILLION, 100), lambda: once(k, "produce", 5 * MILLION, 100))
        self.table.add("produce 100 B, background fsync", "records/s", column(a, "records_s"), column(b, "records_s"), 3, True)

    def consume(self):
        t, k = self.taffrail, self.kafka
        for gb, speed in ((1, 2), (8, 1.2)):
            tt, kt = t.topic(), k.topic()
            for _ in range(gb):
                t.produce(tt, MILLION, 1000), k.produce(kt, MILLION, 1000)
            a, b = pairs(self.n, lambda: t.consume(tt, gb * MILLION, 1000), lambda: k.consume(kt, gb * MILLION, 1000))
            self.table.add(f"consume 1 KB, {gb} GB from the start", "MB/s", column(a, "mb_s"), column(b, "mb_s"), speed, True)
            self.table.add(f"consume 1 KB, {gb} GB: broker CPU", "s/GB", column(a, "cpu_gb"), column(b, "cpu_gb"), 0.8, False)

    def latency(self):
        t, k = self.taffrail, self.kafka
        raw = [raw_fdatasync_ms() for _ in range(self.n)]
        a, b = pairs(self.n, lambda: once(t, "latency", 1000, 20000, durability="Fsync"), lambda: once(k, "latency", 1000, 20000))
        self.table.add("end to end 1,000/s with fsync, Kafka without: p50", "ms", column(a, "p50"), column(b, "p50"), 1.5, False)
        self.table.add("the same: p99", "ms", column(a, "p99"), column(b, "p99"), 0.3, False)
        self.table.add("the same: p99.9", "ms", column(a, "p999"), column(b, "p999"), 0.3, False)
        self.table.note("raw fdatasync after a 4 KiB append: p99.9", "ms", [r["p999"] for r in raw], "ours at most 1.5x")
        one = [once(t, "latency", 0, 10000) for _ in range(self.n)]
        self.table.note("one at a time, background fsync: p50", "ms", column(one, "p50"), "<= 0.125")

    def partitions(self):
        t = self.taffrail
        many = t.topic(1000)
        a, b = pairs(self.n, lambda: t.produce(many, MILLION, 1000), lambda: once(t, "produce", MILLION, 1000))
        self.table.add("1,000 partitions against one (both Taffrail)", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 0.8, True)

    def retained(self):
        t = self.taffrail
        old = t.topic()
        for _ in range(5):
            t.produce(old, MILLION, 1000)
        a, b = pairs(self.n, lambda: t.produce(old, MILLION, 1000), lambda: once(t, "produce", MILLION, 1000))
        self.table.add("into 5 GB retained against an empty log (both Taffrail)", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 0.97, True)

    def cold(self):
        """Producers' p99 beside a reader that takes all it can get, from the disk and from memory."""
        t, k = self.taffrail, self.kafka
        old = {peer: peer.topic() for peer in (t, k)}
        for _ in range(5):
            t.produce(old[t], MILLION, 1000), k.produce(old[k], MILLION, 1000)

        def alone(peer, **spec):
            return once(peer, "latency", 1000, 10000, **spec)

        def beside(peer, prepare, **spec):
            topic, stop = peer.topic(**spec), threading.Event()
            settle()
            reader = threading.Thread(target=read_all, args=(peer, old[peer], 5 * MILLION, prepare, stop), daemon=True)
            reader.start()
            try:
                return peer.latency(topic, 1000, 10000, quiet=False)
            finally:
                stop.set()
                reader.join()
                peer.delete(topic)

        fsync = {"durability": "Fsync"}
        a, b = pairs(self.n, lambda: beside(t, drop_page_cache, **fsync), lambda: alone(t, **fsync))
        self.table.add("producers' p99 beside a reader of cold data, against without (both Taffrail)", "ms", column(a, "p99"), column(b, "p99"), 1.5, False)
        a, b = pairs(self.n, lambda: beside(t, lambda: None, **fsync), lambda: alone(t, **fsync))
        self.table.add("the same beside a reader of data in the page cache (both Taffrail)", "ms", column(a, "p99"), column(b, "p99"))
        a, b = pairs(self.n, lambda: beside(k, drop_page_cache), lambda: alone(k))
        self.table.add("the same beside a reader of cold data, without fsync (both Kafka)", "ms", column(a, "p99"), column(b, "p99"))

    def restart(self):
        """Until a first record is acknowledged, with 15 GB of log."""
        t, k = Taffrail(WORK, 19740), Kafka(WORK, 19292)
        t.start(), k.start()
        tt, kt = t.topic(durability="Fsync"), k.topic()
        for _ in range(15):
            t.produce(tt, MILLION, 1000), k.produce(kt, MILLION, 1000)
        for how, sig in (("a clean stop", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
            ours, theirs = [], []
            for _ in range(self.n):
                t.stop(sig), settle()
                ours.append(t.start(topic=tt))
                k.stop(sig), settle()
                theirs.append(k.start())
            self.table.add(f"start with 15 GB after {how}", "s", ours, theirs, 0.1, False)
        for peer in (t, k):
            peer.stop()
            shutil.rmtree(peer.dir, ignore_errors=True)

    def memory(self):
        """Peak since start: run it after the others."""
        t, k = self.taffrail.pids, self.kafka.pids
        self.table.add("memory: peak RssAnon + RssShmem in all of the above", "MB", [Sample.PEAKS[tuple(t)]], [Sample.PEAKS[tuple(k)]], 0.1, False)
        self.table.note("memory: VmHWM of Taffrail (counts mapped files)", "MB", [memory_mb(t, "VmHWM")])
        self.table.note("memory: VmHWM of Kafka", "MB", [memory_mb(k, "VmHWM")])

    def close(self):
        for peer in filter(None, (self.taffrail, self.kafka)):
            peer.stop()
        self.taffrail = self.kafka = None


def read_all(peer, topic, records, prepare, stop):
    """From the start, again and again."""
    while not stop.is_set():
        prepare()
        peer.consume(topic, records, 1000, quiet=False)


def drop_page_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def raw_fdatasync_ms(count=3000):
    """What the disk itself takes."""
    import time
    path = f"{WORK}/fdatasync"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    block, times = os.urandom(4096), []
    for _ in range(count):
        t0 = time.perf_counter()
        os.write(fd, block)
        os.fdatasync(fd)
        times.append((time.perf_counter() - t0) * 1e3)
    os.close(fd)
    os.remove(path)
    times.sort()
    return {"p50": times[count // 2], "p99": times[int(count * 0.99)], "p999": times[int(count * 0.999)]}


def main():
    all_suites = ["produce", "fsync", "small", "consume", "latency", "partitions", "retained", "cold", "restart", "memory", *ALONE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="counted runs of each side")
    parser.add_argument("--tiny", action="store_true", help="groups and compaction: do so little that it only shows whether the scripts run")
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    args = parser.parse_args()
    unknown = set(args.suites) - set(all_suites)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(all_suites)}")
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    kafka_peer.prepare()
    taffrail_peer.prepare()
    if args.tiny:
        measure.QUIET_WAIT_S_MAX = 1
    suites = Suites(args.pairs, TINY if args.tiny else Sizes())
    try:
        for name in args.suites or all_suites:
            print(f"== {name}", flush=True)
            if name not in ALONE:
                suites.start()
            getattr(suites, name)()
    finally:
        suites.close()
        shutil.rmtree(WORK, ignore_errors=True)
    print("\n" + suites.table.markdown())


if __name__ == "__main__":
    main()
