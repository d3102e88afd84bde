"""A real Slurm on this machine, for tests: slurmctld, slurmdbd and two slurmd with fake GPUs.

    python tests/cluster/slurm_cluster.py up [FOLDER]     installs Debian's packages where missing, starts all
    python tests/cluster/slurm_cluster.py down [FOLDER]   stops what was started, by pid

Needs root and Debian. Everything lies in FOLDER (default /tmp/mutransfer-slurm); clients need SLURM_CONF,
which `up` prints. Limits are small, so that they are met: arrays of 31, 10 jobs a user in QOS `few`.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path("/tmp/mutransfer-slurm")
NODES = ("n1", "n2")
CONTROLLER_PORT, DATABASE_PORT, FIRST_NODE_PORT = 17817, 17818, 17828
WAIT_SECONDS = 60.0
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again: 120 s by default
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
# nothing that needs control groups, PAM, MPI or a switch
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
# CPUs and memory are what this file says, not what the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdTimeout=12
KillWait=3
MinJobAge=15
CompleteWait=0
ReturnToService=2
MaxArraySize=31
MaxJobCount=1000
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=high Nodes=ALL PriorityTier=100 PreemptMode=OFF
PartitionName=short Nodes=ALL MaxTime=10 PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=lowcancel Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=5
"""

NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=64000 Gres=gpu:2"
GRES = "NodeName={node} Name=gpu File={folder}/dev/nvidia[0-1]"  # links to /dev/null: a device is asked for

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
"""

ACCOUNTS = (
    "add cluster test",
    "add qos few set MaxSubmitJobsPerUser=10",
    "modify user root set qos+=few",
)


class SlurmCluster:
    """The cluster in a folder. Methods raise RuntimeError with the end of the log of what did not come up."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder, self.host = folder, platform.node().partition(".")[0]
        self.conf = folder / "slurm.conf"
        # An outer job's variables would change what the commands and daemons do.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "SRUN"))
        }
        self.environment |= {
            "SLURM_CONF": str(self.conf),
            "MYSQL_UNIX_PORT": str(folder / "mysql.socket"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def up(self) -> None:
        install()
        self.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "dev").mkdir(parents=True)
        (self.folder / "state").mkdir()
        for index in range(2):
            (self.folder / "dev" / f"nvidia{index}").symlink_to("/dev/null")
        self._write_configuration()
        self._start_munge()
        self._start_database()
        self._daemon("slurmdbd", "slurmdbd")
        self._until("slurmdbd", lambda: self.answer("sacctmgr", "-n", "show", "cluster") is not None)
        for words in ACCOUNTS:
            self.must("sacctmgr", "-i", *words.split())
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self._until("slurmctld", self._all_idle)

    def down(self) -> None:
        """Ends jobs, then daemons, each by the pid it left behind."""
        if not self.folder.exists():
            return
        for node in NODES:
            self.kill_node(node)
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._stop(name, signal.SIGTERM)

    def start_controller(self) -> None:
        self._daemon("slurmctld", "slurmctld", "-f", str(self.conf))
        self._until("slurmctld", lambda: "is UP" in (self.answer("scontrol", "ping") or ""))

    def stop_controller(self) -> None:
        self._stop("slurmctld", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._daemon(f"slurmd-{node}", "slurmd", "-f", str(self.conf), "-N", node)

    def stop_node(self, node: str) -> None:
        """Only the daemon ends; its jobs go on."""
        self._stop(f"slurmd-{node}", signal.SIGTERM)

    def kill_node(self, node: str) -> None:
        """The machine is gone: daemon, step daemons and job processes get SIGKILL."""
        self._stop(f"slurmd-{node}", signal.SIGKILL)
        deadline = time.monotonic() + 10
        while pids := [*self._step_daemons(node), *self._job_processes(node)]:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{node}: processes {pids} do not die")
            time.sleep(0.05)

    def down_node(self, node: str) -> None:
        """Tells the controller at once what it would find out after SlurmdTimeout."""
        self.must("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def all_up(self) -> None:
        """Brings back what a test has stopped, and waits until every node is idle."""
        for node in NODES:
            if self._pid(f"slurmd-{node}") is None:
                self.start_node(node)
        if self._pid("slurmctld") is None:
            self.start_controller()
        self.answer("scancel", "-u", "root")
        self._until("slurmctld", self._all_idle)

    def answer(self, *command: str) -> str | None:
        """What a client command prints; None where it failed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout if done.returncode == 0 else None

    def must(self, *command: str) -> str:
        said = self.answer(*command)
        if said is None:
            raise RuntimeError(f"{' '.join(command)} failed")
        return said

    def _write_configuration(self) -> None:
        facts = {
            "folder": self.folder,
            "host": self.host,
            "controller_port": CONTROLLER_PORT,
            "database_port": DATABASE_PORT,
        }
        ports = {node: FIRST_NODE_PORT + index for index, node in enumerate(NODES)}
        nodes = [NODE.format(node=node, port=port, **facts) for node, port in ports.items()]
        self.conf.write_text(SLURM_CONF.format(nodes="\n".join(nodes), **facts))
        gres = ["AutoDetect=off", *(GRES.format(node=node, **facts) for node in NODES)]
        (self.folder / "gres.conf").write_text("\n".join(gres) + "\n")
        database = self.folder / "slurmdbd.conf"
        database.touch(mode=0o600)
        database.write_text(SLURMDBD_CONF.format(**facts))

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        self._daemon(
            "munged", "munged", "--force", "--origin=127.0.0.1", f"--key-file={key}",
            f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munge.seed",
        )  # fmt: skip

    def _start_database(self) -> None:
        data, socket = self.folder / "database", self.folder / "mysql.socket"
        self.must(
            "mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--skip-name-resolve", "--innodb-log-file-size=8M",
        )  # fmt: skip
        with open(self.folder / "mariadbd.log", "ab") as log:
            subprocess.run(
                ["setsid", "--fork", "mariadbd", "--no-defaults", f"--datadir={data}", "--user=root",
                 f"--pid-file={self.folder}/mariadbd.pid", "--skip-networking", f"--socket={socket}",
                 "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
                 "--innodb-lock-wait-timeout=900", "--performance-schema=off"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True,
            )  # fmt: skip
        ask = ("mariadb", "--no-defaults", "-S", str(socket), "-u", "root", "-e", "select 1")
        self._until("mariadbd", lambda: self.answer(*ask) is not None)

    def _daemon(self, name: str, *command: str) -> None:
        pid = self.folder / f"{name}.pid"
        pid.unlink(missing_ok=True)
        with open(self.folder / f"{name}.out", "ab") as out:
            subprocess.run(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True,
                timeout=WAIT_SECONDS,
            )  # fmt: skip
        self._until(name, lambda: self._pid(name) is not None)

    def _all_idle(self) -> bool:
        states = self.answer("sinfo", "-h", "-N", "-p", "main", "-o", "%t") or ""
        if "down" in states or "drain" in states:
            for node in NODES:
                self.answer("scontrol", "update", f"nodename={node}", "state=resume")
        return states.split() == ["idle"] * len(NODES)

    def _until(self, name: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                log = self.folder / f"{name}.log"
                tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
                raise RuntimeError("\n".join([f"{name} did not come up within {WAIT_SECONDS:.0f} s", *tail]))
            time.sleep(0.1)

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except (OSError, ValueError):
            return None
        return pid if state != "Z" and name.partition("-")[0] in command else None

    def _stop(self, name: str, number: signal.Signals) -> None:
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + 20
        while self._pid(name) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _job_processes(self, node: str) -> list[int]:
        """Told by the environment that the node's daemon gave them."""
        wanted = {f"SLURM_CONF={self.conf}".encode(), f"SLURMD_NODENAME={node}".encode()}
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    wanted <= {*(entry / "environ").read_bytes().split(b"\0")}
                    and " Z " not in (entry / "stat").read_text()
                ):
                    found.append(int(entry.name))
        return found

    def _step_daemons(self, node: str) -> list[int]:
        """The owners of the sockets in the node's spool folder."""
        place = str(self.folder / f"spool-{node}") + "/"
        lines = Path("/proc/net/unix").read_text().splitlines()
        sockets = {f"socket:[{line.split()[6]}]" for line in lines if f" {place}" in line}
        found = []
        for entry in Path("/proc").glob("[0-9]*") if sockets else ():
            with contextlib.suppress(OSError):
                if "slurmstepd" in os.readlink(entry / "exe") and any(
                    os.readlink(handle) in sockets for handle in (entry / "fd").iterdir()
                ):
                    found.append(int(entry.name))
        return found


def install() -> None:
    """Debian's packages, without their services."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [package for command, package in PACKAGES.items() if not shutil.which(command, path=path)]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        if made:
            policy.unlink()


def main() -> None:
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    cluster = SlurmCluster(Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER)
    begin = time.monotonic()
    match action:
        case "up":
            cluster.up()
            print(f"export SLURM_CONF={cluster.conf}")
        case "down":
            cluster.down()
        case _:
            sys.exit(__doc__)
    print(f"{action}: {time.monotonic() - begin:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
