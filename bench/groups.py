"""Suites of consumer groups."""
import json
import os
import signal
import subprocess
import time

from kafka_peer import Kafka
from measure import MILLION, column, cpu_s, pairs, settle, sh, spawn, wait_for
from replication import end
from taffrail_peer import BINARY, Taffrail

ALONE = ("commits", "commits3", "rebalance", "group_cpu", "idle_groups", "isolation", "coordinator")


class Groups:
    def commits(self):
        """100 members of one group, each commits one partition at a time and waits for the answer. Ours are on disk before they are answered."""
        self.close()
        self.commits_of(Taffrail(self.work, 19641), Kafka(self.work, 19692), "1 broker")

    def commits3(self):
        self.close()
        self.commits_of(Taffrail(self.work, 19641, brokers=3), Kafka(self.work, 19692, nodes=3), "3 replicas")

    def commits_of(self, t, k, what):
        size = self.sizes
        t.start(), k.start()
        ours, theirs = t.topic(partitions=size.members), k.topic(size.members)
        # Each commit of ours takes a record of the member's partition. Keys spread them; batches without would each go to one partition.
        t.keyed(ours, 2 * size.commits, 100, 1 << 62)
        a, b = pairs(self.n, lambda: t.commits(ours, 1, size.members, size.commits), lambda: k.commits(theirs, size.members, size.kafka_commits))
        self.table.note(f"{what}: commits of {size.members} members, with fsync", "1/s", column(a, "per_s"), ">= 10000")
        self.table.add(f"{what}: the same against Kafka, which does not sync", "1/s", column(a, "per_s"), column(b, "per_s"), 2, True)
        self.table.add(f"{what}: commit, p50", "ms", column(a, "p50"), column(b, "p50"))
        self.table.add(f"{what}: commit, p99", "ms", column(a, "p99"), column(b, "p99"))
        end(t, k)

    def rebalance(self):
        """One more member joins a group that rests, and leaves."""
        self.close()
        members, partitions = self.sizes.members, self.sizes.partitions
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic(partitions=partitions)
        runs = []
        for _ in range(self.n):
            settle()
            runs.append(json.loads(sh([BINARY, "bench", "rebalance", topic, "--members", str(members), "--json"], env=t.env)))
        share = partitions // (members + 1)
        for what in ("join", "leave"):
            self.table.note(f"rebalance of {members} members and {partitions:,} partitions: one {what}s", "ms", [r[what]["ms"] for r in runs], "<= 1000")
            self.table.note(f"the same: partitions that stop when one {what}s", "", [r[what]["moved"] for r in runs], f"{share} or {share + 1}")
        end(t)

    def group_cpu(self):
        """As the only member of a group, against the same partition assigned."""
        self.close()
        t = Taffrail(self.work, 19641)
        t.start()
        topic, records = t.topic(), round(self.sizes.group_gb * MILLION)
        t.produce(topic, records, 1000)
        runs = iter(range(1 << 30))
        a, b = pairs(self.n, lambda: t.consume_cpu(topic, records, 1000, "--group", f"g{next(runs)}"), lambda: t.consume_cpu(topic, records, 1000))
        self.table.add("consume 1 KB through a group, against an assigned partition (both Taffrail): CPU of broker and client", "s/GB", a, b, 1.05, False)
        end(t)

    def idle_groups(self):
        """CPU of a broker, as a share of one core: without groups, with 1,000 of one member each that gets no records, and of none."""
        self.close()
        groups, seconds = self.sizes.groups, self.sizes.idle_s
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic()
        t.produce(topic, groups, 100)
        settle()
        alone = busy_share(t, seconds)
        command = [BINARY, "bench", "commit", topic, "--members", "1", "--groups", str(groups), "--commits", str(groups), "--idle", f"{seconds + 15}s", "--json"]
        members = subprocess.Popen(command, env=t.env, stdout=subprocess.PIPE, text=True)
        assert members.stdout.readline(), "the members did not commit"
        time.sleep(10)
        with_members = busy_share(t, seconds)
        # Killed: the groups and their offsets stay, their members are given up after the session timeout.
        members.kill()
        members.wait()
        time.sleep(60)
        settle()
        without = busy_share(t, seconds)
        assert len(t.groups()) == groups
        self.table.note("a broker and its controller without groups", "% of a core", [alone])
        self.table.note(f"what {groups:,} groups without members add", "% of a core", [without - alone], "<= 2")
        self.table.note(f"what {groups:,} groups with a member each that waits for records add", "% of a core", [with_members - alone], "<= 2")
        end(t)

    def isolation(self):
        """End to end through a group at 1,000/s with fsync: alone, beside a group whose only member stands still, and beside one that reads what was written long before."""
        self.close()
        size = self.sizes
        t = Taffrail(self.work, 19641)
        t.start()
        topic = t.topic(durability="Fsync")
        t.produce(topic, round(size.group_gb * MILLION), 1000)
        runs = iter(range(1 << 30))

        def latency():
            return t.latency(topic, 1000, 1000 * size.beside_s, "--group", f"live{next(runs)}")

        def beside(sig, *more):
            """Of another group's member, which gets `sig` once it has read for a while."""
            name = f"other{next(runs)}"
            member = spawn([BINARY, "consume", topic, "--group", name, "--from", "earliest", "--follow", "-o", "raw", *more], "/dev/null", env=t.env)
            wait_for(lambda: any(g["name"] == name for g in t.groups()), step=0.1)
            time.sleep(2)
            if sig:
                member.send_signal(sig)
                settle()
            try:
                found = t.latency(topic, 1000, 1000 * size.beside_s, "--group", f"live{next(runs)}", quiet=False)
                assert member.poll() is None, "the other member ended"
            finally:
                member.kill()
                member.wait()
            return found

        for how, *other in (("a stopped member of another group", signal.SIGSTOP), ("a group that reads 50 MB/s of old records", None, "--rate", "50M")):
            a, b = pairs(self.n, lambda: beside(*other), latency)
            self.table.note("end to end through a group at 1,000/s with fsync, alone: p99", "ms", column(b, "p99"))
            self.table.note(f"the same beside {how}", "ms", column(a, "p99"))
            self.table.note("the same: ratio, pair by pair", "", [x["p99"] / y["p99"] for x, y in zip(a, b)])
        end(t)

    def coordinator(self):
        """kill -9 of one of three brokers, under commits of 1,000 groups: longest time that any member was without an answer."""
        self.close()
        groups, each = self.sizes.groups, self.sizes.commits_each
        gaps = []
        for _ in range(self.n):
            t = Taffrail(self.work, 19641, brokers=3)
            t.start()
            topic = t.topic()
            t.produce(topic, 2 * each, 100)
            command = [BINARY, "bench", "commit", topic, "--members", "1", "--groups", str(groups), "--commits", str(groups * each), "--json"]
            members = subprocess.Popen(command, env=t.env, stdout=subprocess.PIPE, text=True)
            wait_for(lambda: len(t.groups()) == groups, step=0.5)
            time.sleep(2)
            os.kill(t.pids[1], signal.SIGKILL)
            assert members.poll() is None, "the members were done before the broker was killed"
            out, _ = members.communicate(timeout=300)
            gaps.append(json.loads(out)["longest_gap_ms"])
            end(t)
        self.table.note(f"kill -9 of the coordinator of a third of {groups:,} groups: longest time that a member was without an answer", "ms", gaps, "<= 2000")


def busy_share(t, seconds):
    before, t0 = cpu_s(t.pids), time.time()
    time.sleep(seconds)
    return (cpu_s(t.pids) - before) / (time.time() - t0) * 100
