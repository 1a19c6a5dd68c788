"""Suites of consumer groups."""
import json
import os
import signal
import subprocess
import time

from kafka_peer import Kafka
from measure import MILLION, column, cpu_s, pairs, settle, sh, wait_for
from replication import end
from taffrail_peer import BINARY, Taffrail

ALONE = ("commits", "commits3", "rebalance", "group_cpu", "idle_groups", "coordinator")


class Groups:
    def commits(self):
        """100 members of one group, each commits one partition at a time and waits for the answer. Ours are on disk before they are answered."""
        self.close()
        self.commits_of(Taffrail(self.work, 19641), Kafka(self.work, 19692), "1 broker")

    def commits3(self):
        self.close()
        self.commits_of(Taffrail(self.work, 19641, brokers=3), Kafka(self.work, 19692, nodes=3), "3 replicas")

    def commits_of(self, t, k, what):
        t.start(), k.start()
        ours, theirs = t.topic(partitions=100), k.topic(100)
        t.produce(ours, MILLION // 2, 100)
        a, b = pairs(self.n, lambda: t.commits(ours, 1, 100, 100_000), lambda: k.commits(theirs, 100, 50_000))
        self.table.add(f"{what}: commits of 100 members, ours with fsync", "1/s", column(a, "per_s"), column(b, "per_s"), 2, True)
        self.table.add(f"{what}: commit, p99", "ms", column(a, "p99"), column(b, "p99"), 1, False)
        end(t, k)

    def rebalance(self):
        """100 members, 1,000 partitions: one more joins, and leaves."""
        self.close()
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic(partitions=1000)
        runs = [json.loads(sh([BINARY, "bench", "rebalance", topic, "--members", "100", "--json"], env=t.env)) for _ in range(self.n)]
        for what in ("join", "leave"):
            self.table.note(f"rebalance of 100 members and 1,000 partitions: one {what}s", "ms", [r[what]["ms"] for r in runs], "<= 1000")
            self.table.note(f"rebalance: partitions that move when one {what}s", "", [r[what]["moved"] for r in runs], "9 or 10")
        end(t)

    def group_cpu(self):
        """1 GB as the only member of a group against the same partition assigned; CPU of broker and client."""
        self.close()
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic()
        t.produce(topic, MILLION, 1000)
        runs = iter(range(1 << 30))
        a, b = pairs(self.n, lambda: t.consume_cpu(topic, MILLION, 1000, "--group", f"g{next(runs)}"), lambda: t.consume_cpu(topic, MILLION, 1000))
        self.table.add("consume 1 GB through a group, against an assigned partition: CPU of broker and client", "s", a, b, 1.05, False)
        end(t)

    def idle_groups(self, groups=1000, seconds=30):
        """CPU of a broker, as a share of one core: 1,000 groups without members, then with one member each that gets no records."""
        self.close()
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic()
        t.produce(topic, 1000, 100)
        command = [BINARY, "bench", "commit", topic, "--members", "1", "--groups", str(groups), "--commits", str(groups), "--idle", f"{seconds + 15}s", "--json"]
        members = subprocess.Popen(command, env=t.env, stdout=subprocess.PIPE, text=True)
        assert members.stdout.readline(), "the members did not commit"
        time.sleep(10)
        before = cpu_s(t.pids)
        time.sleep(seconds)
        with_members = (cpu_s(t.pids) - before) / seconds * 100
        # Killed: the groups and their offsets stay, their members are given up after the session timeout.
        members.kill()
        members.wait()
        time.sleep(60)
        settle()
        before = cpu_s(t.pids)
        time.sleep(seconds)
        without = (cpu_s(t.pids) - before) / seconds * 100
        self.table.note("1,000 groups without members", "% of a core", [without], "<= 2")
        self.table.note("1,000 groups with a member each that waits for records", "% of a core", [with_members])
        end(t)

    def coordinator(self, groups=1000):
        """kill -9 of one of three brokers, under commits of 1,000 groups: longest time that any member was without an answer."""
        self.close()
        gaps = []
        for _ in range(self.n):
            t = Taffrail(self.work, 19641, brokers=3)
            t.start()
            topic = t.topic()
            t.produce(topic, 2000, 100)
            command = [BINARY, "bench", "commit", topic, "--members", "1", "--groups", str(groups), "--commits", str(groups * 200), "--json"]
            members = subprocess.Popen(command, env=t.env, stdout=subprocess.PIPE, text=True)
            wait_for(lambda: len(t.groups()) == groups, step=0.5)
            time.sleep(2)
            os.kill(t.pids[1], signal.SIGKILL)
            out, _ = members.communicate(timeout=300)
            gaps.append(json.loads(out)["longest_gap_ms"])
            end(t)
        self.table.note("kill -9 of a coordinator of a third of 1,000 groups: longest time without a commit", "ms", gaps, "<= 2000")
