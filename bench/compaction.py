"""The suite of compaction."""
import time

from kafka_peer import Kafka
from measure import column, once, pairs, settle, wait_for
from replication import end
from taffrail_peer import Taffrail

ALONE = ("compaction",)
# A pass takes what is in a recovery point on disk: soon everything.
SOON = "compaction_interval_ms = 100\ncheckpoint_interval_ms = 1000\n"
CHECKPOINT_S = 3
LIMITED = f"[disk]\n{SOON}"
UNLIMITED = f"[disk]\ncompaction_bytes_per_s_max = 0\n{SOON}"


class Compaction:
    def compaction(self):
        """A log of 1 GB in closed segments becomes a compacted one: one pass of one thread, without a limit on both sides."""
        self.close()
        size = self.sizes
        t, k = Taffrail(self.work, 19641, config=UNLIMITED), Kafka(self.work, 19692, **{"log.cleaner.backoff.ms": 100})
        t.start(), k.start()
        compacted(k, size)  # as for producing: a JVM that has done it once is faster
        a, b = pairs(self.n, lambda: compacted(t, size), lambda: compacted(k, size))
        self.table.add(f"compaction of 1 KB records with {size.keys:,} keys", "MB/s", column(a, "mb_s"), column(b, "mb_s"), 2, True)
        self.table.add("the same: broker CPU", "s/GB", column(a, "cpu_gb"), column(b, "cpu_gb"))
        self.table.add("the same: what a pass went over", "MB", column(a, "mb"), column(b, "mb"))
        self.table.add("the same: what is left of it", "%", *([100 * kept for kept in column(rows, "kept")] for rows in (a, b)))
        end(k)
        self.beside(t, 4 * size.keyed, size.beside_s // 3 or 1, "without its limit", "")
        end(t)
        t = Taffrail(self.work, 19641, config=LIMITED)
        t.start()
        self.beside(t, size.keyed, size.beside_s, "with its default limit", "<= 1.5")
        end(t)
        self.memory_of(size.keyed, 1000, size.keys)
        self.memory_of(size.all_keys, 100, 1 << 62)

    def beside(self, t, records, seconds, how, wanted):
        """Producers' p99 while a pass runs, against without; both Taffrail, with fsync."""
        size = self.sizes
        a, b = pairs(self.n, lambda: beside_a_pass(t, records, seconds, size), lambda: once(t, "latency", 1000, 1000 * seconds, durability="Fsync"))
        self.table.note("producers' p99 at 1,000/s with fsync, alone", "ms", column(b, "p99"))
        self.table.note(f"the same beside compaction {how}", "ms", column(a, "p99"))
        self.table.note("the same: ratio, pair by pair", "", [x["p99"] / y["p99"] for x, y in zip(a, b)], wanted)

    def memory_of(self, records, value_bytes, keys):
        """What a pass adds to RssAnon + RssShmem of a broker that has just started."""
        grown = []
        for _ in range(self.n):
            t = Taffrail(self.work, 19641, config=UNLIMITED)
            t.start()
            topic = t.topic(segment_bytes=self.sizes.segment_bytes)
            t.keyed(topic, records, value_bytes, keys)
            t.stop()
            t.start()
            time.sleep(CHECKPOINT_S)
            grown.append(t.compact(topic)["grown_mb"])
            end(t)
        what = f"{keys:,} keys" if keys < records else "a key each"
        self.table.note(f"memory that a pass over {records:,} records of {value_bytes:,} B with {what} takes", "MB", grown, "<= 128")


def compacted(peer, size):
    """A pass over a topic of its own."""
    topic = peer.topic(segment_bytes=size.segment_bytes)
    peer.keyed(topic, size.keyed, 1000, size.keys)
    time.sleep(CHECKPOINT_S)
    result = peer.compact(topic)
    peer.delete(topic)
    all_mb = size.keyed / 1e3
    # All but the active segment, once.
    assert all_mb - 2 * size.segment_bytes / 1e6 < result["mb"] < 1.1 * all_mb, result
    return result


def beside_a_pass(t, records, seconds, size):
    log, topic = t.topic(segment_bytes=size.segment_bytes), t.topic(durability="Fsync")
    t.keyed(log, records, 1000, size.keys)
    time.sleep(CHECKPOINT_S)
    settle()
    before = t.begin_compaction(log)
    begun = "taffrail_broker_compaction_bytes_total"
    wait_for(lambda: t.metrics()[begun] > before[begun])
    latency = t.latency(topic, 1000, 1000 * seconds, quiet=False)
    if t.has_compacted(before):
        print("the pass was over before the producers were: this run shows less than it should", flush=True)
    wait_for(lambda: t.has_compacted(before), step=0.1)
    t.delete(log), t.delete(topic)
    return latency
