"""Suites with three brokers a side, which have no brokers in common with the others."""
import json
import os
import shutil
import signal
import threading
import time

from kafka_peer import Kafka
from measure import MILLION, Sample, column, cpu_s, memory_mb, once, pairs, settle, wait_for
from taffrail_peer import Taffrail

ALONE = ("replicated", "replicated_latency", "replicated_fsync", "failover", "rolling", "many", "catchup")
TRIALS = 20
# Longer than three brokers take to stop, start and catch up, each after the other.
ROLLING_S = 90


class Replication:
    def three(self, ours, theirs, **config):
        """Three brokers of each side, those of Kafka warmed up."""
        self.close()
        t, k = Taffrail(self.work, ours, brokers=3), Kafka(self.work, theirs, nodes=3, **config)
        self.table.add("3 brokers: start of a new cluster", "s", [t.start()], [k.start()], 1, False)
        for _ in range(3):
            once(k, "produce", MILLION, 1000)
        return t, k

    def replicated(self):
        """Three brokers, three replicas, two of them in sync at least, on both sides."""
        t, k = self.three(19840, 19392)
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000), lambda: once(k, "produce", MILLION, 1000))
        self.table.add("3 replicas: produce 1 KB, background fsync", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 4, True)
        self.table.add("3 replicas: produce 1 KB: CPU of all brokers", "s/GB", column(a, "cpu_gb"), column(b, "cpu_gb"), 0.25, False)
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000, durability="Fsync"), lambda: once(k, "produce", MILLION, 1000))
        self.table.add("3 replicas: produce 1 KB with fsync, Kafka without", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 3, True)
        self.table.add("3 replicas: peak RssAnon + RssShmem of all brokers", "MB", [Sample.PEAKS[tuple(t.pids)]], [Sample.PEAKS[tuple(k.pids)]], 0.1, False)
        end(t, k)

    def replicated_latency(self):
        t, k = self.three(19840, 19392)
        a, b = pairs(self.n, lambda: once(t, "latency", 1000, 20000, durability="Fsync"), lambda: once(k, "latency", 1000, 20000))
        for figure, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")):
            wanted = 0.3 if key == "p99" else 1
            self.table.add(f"3 replicas: end to end 1,000/s with fsync, Kafka without: {figure}", "ms", column(a, key), column(b, key), wanted, False)
        end(t, k)

    def replicated_fsync(self):
        t, k = self.three(19840, 19592, **{"log.flush.interval.messages": 1})
        a, b = pairs(self.n, lambda: once(t, "produce", MILLION, 1000, durability="Fsync"), lambda: once(k, "produce", MILLION, 1000))
        self.table.add("3 replicas: produce 1 KB, fsync before acknowledging", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 3, True)
        end(t, k)

    def failover(self):
        """1,000 records a second into one partition while the broker that leads it ends: longest time between two acknowledgements."""
        self.close()
        t, k = Taffrail(self.work, 19940, brokers=3), Kafka(self.work, 19492, nodes=3)
        t.start(), k.start()
        for how, sig, wanted in (("kill -9", signal.SIGKILL, "<= 2000"), ("a clean stop", signal.SIGTERM, "<= 200")):
            ours = lambda: gap_of_failover(t, t.topic(durability="Fsync"), sig, 7)
            a, b = pairs(self.n, ours, lambda: gap_of_failover(k, k.topic(), sig, 15))
            self.table.add(f"{how} of the leader's broker: longest gap", "ms", a, b, 0.5, False)
            a += [ours() for _ in range(TRIALS - len(a))]
            p95 = sorted(a)[-(-95 * len(a) // 100) - 1]
            self.table.note(f"{how}: p95 of our {len(a)} gaps", "ms", [p95], wanted)
        end(t, k)

    def rolling(self):
        """1,000 records a second with acks=all into three partitions while each of three brokers is stopped in order, started again and in sync, one after the other."""
        self.close()
        t = Taffrail(self.work, 20340, brokers=3)
        t.start()
        gaps, errors = [], []
        for trial in range(self.n):
            gap, error = rolling_restart(t, t.topic(partitions=3, durability="Fsync"))
            gaps += [gap] if error is None else []
            errors.append(0 if error is None else 1)
            print(f"rolling restart {trial + 1}: " + (f"longest gap {gap} ms, no client-visible error" if error is None else f"1 client-visible error, which ended the load: {error}"), flush=True)
        if gaps:
            self.table.note("a rolling restart of three brokers: longest gap", "ms", gaps, "<= 200")
        self.table.note("the same: client-visible errors (the first ends a trial)", "", errors, "0")
        end(t)

    def many(self, topics=100, partitions=100):
        """10,000 partitions of three replicas: at rest, and when a broker that leads a third of them is killed."""
        self.close()
        t = Taffrail(self.work, 20040, brokers=3)
        t.start()
        for _ in range(topics):
            t.topic(partitions=partitions)
        count = topics * partitions
        wait_for(lambda: sum(len(p["isr"]) == 3 for p in t.list("partitions")) == count)
        time.sleep(20)  # preferred leaders lead
        settle()
        processes = {"controller": t.pids[0], **{f"broker {i}": pid for i, pid in enumerate(t.pids[1:])}}
        before, t0 = {name: cpu_s([pid]) for name, pid in processes.items()}, time.time()
        time.sleep(60)
        wall = time.time() - t0
        for name, pid in processes.items():
            share = 100 * (cpu_s([pid]) - before[name]) / wall
            self.table.note(f"{count:,} partitions at rest: CPU of the {name}", "% of a core", [share], "all of them <= 5")
            self.table.note(f"{count:,} partitions at rest: RssAnon + RssShmem of the {name}", "MB", [memory_mb([pid], "RssAnon", "RssShmem")],
                            "<= 300" if name == "controller" else "<= 400")
        for _ in range(self.n):
            victim = next(b for b in t.list("brokers") if b["processId"] == processes["broker 1"])
            led = sum(p["leader"] == victim["number"] for p in t.list("partitions"))
            os.kill(victim["processId"], signal.SIGKILL)
            took = wait_for(lambda: all(p["leader"] not in (None, victim["number"]) for p in t.list("partitions")), step=0)
            self.table.note(f"{led:,} partitions of a killed broker: until every one has another leader", "s", [took], "<= 3 from detection")
            t.revive(victim["processId"])
            wait_for(lambda: all(len(p["isr"]) == 3 for p in t.list("partitions")))
            time.sleep(20)
            processes["broker 1"] = next(b["processId"] for b in t.list("brokers") if b["number"] == victim["number"])
        end(t)

    def catchup(self, gb=4):
        """A replica that has nothing yet, without a limit on an idle cluster, then with the default limit beside producers."""
        self.close()
        t = Taffrail(self.work, 20140, brokers=3, config="[replication]\ncatch_up_bytes_per_s_max = 0\n")
        t.start()
        size = gb * 1000 * MILLION
        ours, slower = [], []
        for _ in range(self.n):
            name = t.topic(replicas=1, durability="Fsync")
            t.produce(name, gb * MILLION, 1000)
            consumed = t.consume(name, gb * MILLION, 1000)["mb_s"]
            written = plain_write_mb_s(f"{self.work}/plain", size)
            settle()
            t0 = time.time()
            t.apply(name, replicas=2, durability="Fsync")
            wait_for(lambda: len(t.list("partitions", name)[0]["isr"]) == 2)
            ours.append(size / 1e6 / (time.time() - t0))
            slower.append(min(consumed, written))
            t.delete(name)
        self.table.add(f"catch-up of {gb} GB, against the lower of consuming and a plain write (both here)", "MB/s", ours, slower, 0.7, True)
        end(t)
        t = Taffrail(self.work, 20240, brokers=3)
        t.start()

        def beside():
            name, topic = t.topic(replicas=1, durability="Fsync"), t.topic(durability="Fsync")
            t.produce(name, 3 * MILLION, 1000)
            settle()
            t.apply(name, replicas=2, durability="Fsync")
            latency = t.latency(topic, 1000, 15000, quiet=False)
            if len(t.list("partitions", name)[0]["isr"]) == 2:
                print("the replica had caught up before the producers were done: this run shows less than it should", flush=True)
            t.delete(name), t.delete(topic)
            return latency

        a, b = pairs(self.n, beside, lambda: once(t, "latency", 1000, 15000, durability="Fsync"))
        self.table.add("producers' p99 beside a catch-up with the default limit, against without (both Taffrail)", "ms", column(a, "p99"), column(b, "p99"), 2, False)
        end(t)


def end(*peers):
    for peer in peers:
        peer.stop()
        shutil.rmtree(peer.dir, ignore_errors=True)


def gap_of_failover(peer, topic, sig, seconds):
    leader = peer.leader(topic)
    ending = threading.Timer(3, peer.kill, (leader, sig))
    ending.start()
    gap = peer.gap(topic, 1000, seconds)
    ending.join()
    peer.revive(leader)
    return gap


def rolling_restart(peer, topic):
    """Longest gap between acknowledgements in ms, or what the client said of the record that failed."""
    load = peer.load(topic, 1000, ROLLING_S)
    try:
        time.sleep(3)
        for number in sorted(b["number"] for b in peer.list("brokers")):
            peer.roll(number, topic)
        is_over = load.poll() is not None
        out, said = load.communicate(timeout=2 * ROLLING_S)
    finally:
        load.kill()
    if load.returncode:
        return None, said.strip()
    assert not is_over, f"the brokers took longer than {ROLLING_S} s"
    return json.loads(out)["longest_gap_ms"], None


def plain_write_mb_s(path, size, step=16 << 20):
    """One writer, an fdatasync after each 16 MiB."""
    block = os.urandom(step)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    t0 = time.time()
    for _ in range(size // step):
        os.write(fd, block)
        os.fdatasync(fd)
    took = time.time() - t0
    os.close(fd)
    os.remove(path)
    return size // step * step / 1e6 / took
