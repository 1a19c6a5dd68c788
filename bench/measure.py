"""What every measurement shares: processes, CPU and memory from /proc, waiting for quiet, medians and ratios."""
import atexit
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

# How long a measurement waits for a quiet machine, at most.
QUIET_WAIT_S_MAX = 20
HZ = os.sysconf("SC_CLK_TCK")
MILLION = 1_000_000


def pairs(n, ours, theirs):
    """Runs ours and theirs in turn, after one of each that does not count."""
    ours(), theirs()
    a, b = [], []
    for _ in range(n):
        a.append(ours())
        b.append(theirs())
    return a, b


def once(peer, work, *args, **spec):
    """One run on a topic of its own, which is gone afterwards: what runs leave behind would fill the disk."""
    topic = peer.topic(**spec)
    try:
        return getattr(peer, work)(topic, *args)
    finally:
        peer.delete(topic)


def column(rows, key):
    return [r[key] for r in rows]


def cpu_s(pids):
    """User and system CPU seconds of whole processes, all threads."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / HZ


def memory_mb(pids, *keys):
    """Sum of lines of /proc/PID/status, such as VmHWM or RssAnon, in MB (10^6 bytes)."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.split(":")[0] in keys:
                    total += int(line.split()[1])
    return total * 1024 / 1e6


def busy_s():
    """CPU seconds that the whole machine was busy."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / HZ


class Sample:
    """with Sample(pids) as s: ...; afterwards s.wall, s.broker, s.client, s.other, s.grown_mb; the largest RssAnon + RssShmem of all samples stays in PEAKS."""

    PEAKS = {}

    def __init__(self, pids):
        self.pids = list(pids)
        self.done = threading.Event()

    def watch(self):
        key = tuple(self.pids)
        while not self.done.wait(0.05):
            now = memory_mb(self.pids, "RssAnon", "RssShmem")
            self.grown_mb = max(self.grown_mb, now - self.memory_mb)
            self.PEAKS[key] = max(self.PEAKS.get(key, 0), now)

    def __enter__(self):
        self.memory_mb, self.grown_mb = memory_mb(self.pids, "RssAnon", "RssShmem"), 0
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()
        self.t0, self.c0, self.b0, self.r0 = time.time(), cpu_s(self.pids), busy_s(), os.times()
        return self

    def __exit__(self, *_):
        now = os.times()
        self.done.set()
        self.watcher.join()
        self.wall = time.time() - self.t0
        self.broker = cpu_s(self.pids) - self.c0
        self.client = now.children_user + now.children_system - self.r0.children_user - self.r0.children_system
        # What neighbours burnt meanwhile: the noise.
        self.other = max(0.0, busy_s() - self.b0 - self.broker - self.client)


def settle():
    """Write back what the run before left, then wait (bounded) until the machine is quiet."""
    os.sync()
    deadline, quiet = time.time() + QUIET_WAIT_S_MAX, 0
    while quiet < 2 and time.time() < deadline:
        before = busy_s()
        time.sleep(0.5)
        quiet = quiet + 1 if busy_s() - before < 0.15 else 0


def sh(cmd, **kw):
    """Run a client to its end; its output, or exit with its last words."""
    r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if r.returncode:
        sys.exit(f"failed ({r.returncode}): {' '.join(map(str, cmd))[:300]}\n{(r.stdout + r.stderr)[-3000:]}")
    return r.stdout


def spawn(cmd, log, **kw):
    """A process that does not outlive this one, whatever becomes of it."""
    with open(log, "ab") as f:
        process = subprocess.Popen(cmd, stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **kw)
    atexit.register(process.terminate)
    return process


def stop(process, sig=signal.SIGTERM):
    process.send_signal(sig)
    process.wait(120)


def wait_for(condition, timeout=300, step=0.005):
    """Seconds until condition() is true; connection errors count as false."""
    t0 = time.time()
    while time.time() - t0 < timeout:
        try:
            if condition():
                return time.time() - t0
        except OSError:
            pass
        time.sleep(step)
    sys.exit("timed out waiting for a broker")


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):.4g} ({values[0]:.4g} to {values[-1]:.4g})"


class Table:
    """Rows of (figure, ours, theirs, ratio, wanted), printed as they come and as Markdown at the end."""

    def __init__(self):
        self.rows = []

    def add(self, figure, unit, ours, theirs, wanted=None, at_least=False):
        """Runs in pairs, in the order they were made: the ratio is taken pair by pair. Nothing may be wanted of it."""
        ratios = [a / b for a, b in zip(ours, theirs)]
        asked, met = "", ""
        if wanted is not None:
            median = statistics.median(ratios)
            held = median >= wanted if at_least else median <= wanted
            asked, met = f"{'>=' if at_least else '<='} {wanted}", "yes" if held else "NO"
        row = (figure, unit, spread(ours), spread(theirs), spread(ratios), asked, met)
        self.rows.append(row)
        print(" | ".join(row), flush=True)

    def note(self, figure, unit, ours, wanted=""):
        row = (figure, unit, spread(ours), "", "", wanted, "")
        self.rows.append(row)
        print(" | ".join(row), flush=True)

    def markdown(self):
        head = "| figure | unit | Taffrail | Kafka | ratio, pair by pair | asked | met |\n|---|---|---|---|---|---|---|\n"
        return head + "".join("| " + " | ".join(r) + " |\n" for r in self.rows)
