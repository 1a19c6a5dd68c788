"""How much the suites of groups and compaction do."""
from dataclasses import dataclass

from measure import MILLION


@dataclass(frozen=True)
class Sizes:
    members: int = 100
    partitions: int = 1000
    commits: int = 100_000
    # A member of Kafka's has a thread and a client of its own.
    kafka_commits: int = 50_000
    groups: int = 1000
    commits_each: int = 200
    idle_s: int = 30
    group_gb: float = 4
    # Of a log to compact: records of 1 KB, keys, and bytes of a segment.
    keyed: int = MILLION
    keys: int = 100_000
    segment_bytes: int = 64 << 20
    # Records of 100 B with as many keys, more than one pass keeps track of.
    all_keys: int = 10 * MILLION
    beside_s: int = 15


# To see that the scripts run: what they print then means nothing.
TINY = Sizes(members=5, partitions=50, commits=1000, kafka_commits=500, groups=20, commits_each=2000, idle_s=3, group_gb=0.05, keyed=20_000, keys=2000, segment_bytes=4 << 20,
             all_keys=100_000, beside_s=1)
