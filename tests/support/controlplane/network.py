"""What a node puts into the machine's network: a bridge, firewall rules, kernel settings; and taking it out again."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from controlplane.layout import NODE_ADDRESS
from controlplane.packages import environment

BRIDGE = "memnode0"
PODS = "10.244.0.0/24"
MARK = "memory-test-node"
RULES = (
    ("filter", "FORWARD", f"-s {PODS}", "ACCEPT"),
    ("filter", "FORWARD", f"-d {PODS}", "ACCEPT"),
    ("nat", "POSTROUTING", f"-s {PODS} ! -d {PODS}", "MASQUERADE"),
)
TABLES = ("filter", "nat", "mangle", "raw")
FAMILIES = ("iptables", "ip6tables")
# Forwarding stays switched on afterwards: a container engine that was started meanwhile relies on it.
NEEDED = {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"}
# What kubelet and kube-proxy set for themselves is set back.
RESTORED = (
    *("net.ipv4.conf.all.route_localnet", "vm.overcommit_memory", "vm.panic_on_oom"),
    *("kernel.panic", "kernel.panic_on_oops", "kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes"),
)
SECONDS = 30


def prepare(memory: Path) -> None:
    """Make the bridge and let pods through; `memory` is the file that remembers the kernel's settings."""
    if not memory.exists():
        memory.write_text(json.dumps({name: _sysctl(name) for name in RESTORED}), "utf-8")
    if shutil.which("modprobe"):  # a kernel without modules has it built in, or not at all
        subprocess.run(["modprobe", "-q", "br_netfilter"], check=False, capture_output=True, timeout=SECONDS)
    for name, value in NEEDED.items():
        if _sysctl(name) not in {None, value}:
            _setting(name).write_text(value, "ascii")
    if not Path("/sys/class/net", BRIDGE).exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    remove_rules()
    for table, chain, match, target in RULES:
        run(
            "iptables", "-w", "-t", table, "-I", chain, *match.split(), "-m", "comment", "--comment", MARK, "-j", target
        )


def clean(memory: Path) -> None:
    """Remove bridge, pods' ends of it and rules, and set the kernel's settings back."""
    for port in Path("/sys/class/net", BRIDGE, "brif").glob("*"):
        with contextlib.suppress(RuntimeError):  # its pod's network went away meanwhile, and it with that
            run("ip", "link", "delete", port.name)
    if Path("/sys/class/net", BRIDGE).exists():
        run("ip", "link", "delete", BRIDGE)
    remove_rules()
    if memory.exists():
        for name, value in json.loads(memory.read_text("utf-8")).items():
            if value is not None and _sysctl(name) != value:
                _setting(name).write_text(value, "ascii")
        memory.unlink()


def foreign_kubernetes() -> bool:
    """Whether some other Kubernetes already rules this machine's firewall."""
    return ":KUBE-SERVICES" in run("iptables-save", "-t", "nat")


def remove_rules() -> None:
    """Remove our rules and all that kube-proxy made, in one step a table."""
    for family in FAMILIES:
        for table in TABLES:
            try:
                present = run(f"{family}-save", "-t", table)
            except (RuntimeError, FileNotFoundError):
                continue  # no such table or family in this kernel
            if undoing := undo(present):
                script = "\n".join([f"*{table}", *undoing, "COMMIT", ""])
                run(f"{family}-restore", "--noflush", "--wait", script=script)


def undo(saved: str) -> list[str]:
    """Return the lines for iptables-restore that remove what is ours from what iptables-save printed."""
    chains = [line[1:].split()[0] for line in saved.splitlines() if line.startswith(":KUBE-")]
    rules = [line for line in saved.splitlines() if line.startswith("-A ") and not line.startswith("-A KUBE-")]
    ours = [rule for rule in rules if "-j KUBE-" in rule or MARK in rule]
    return [
        *(f"-D {rule.removeprefix('-A ')}" for rule in ours),
        *(f"-F {chain}" for chain in chains),
        *(f"-X {chain}" for chain in chains),
    ]


def run(*command: str, script: str | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        RuntimeError: it failed; the message has its words.
    """
    done = subprocess.run(
        command, input=script, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _sysctl(name: str) -> str | None:
    return _setting(name).read_text("ascii").strip() if _setting(name).exists() else None


def _setting(name: str) -> Path:
    return Path("/proc/sys", name.replace(".", "/"))
