#!/usr/bin/env bash
# A real Slurm of one node, for the tests.
#   slurm_node.sh install      the programs, from Debian
#   slurm_node.sh start DIR    run it inside DIR; prints SLURM_CONF=DIR/slurm.conf
#   slurm_node.sh stop DIR     end all of it, also when half started; DIR stays
# Exit 77: it cannot be run here, and one line says why.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin" # where Debian puts the daemons, not on every PATH

missing() {
    local program
    for program in munged slurmctld slurmd slurmstepd sinfo sbatch; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

cannot_run() {
    echo "no Slurm here: $1"
    exit 77
}

# Everything is started with SLURM_CONF set, so the environment tells our
# processes from those of any other Slurm on the machine; slurmstepd wipes its
# own, but sits in the folder of slurmd's log. A job inherits SLURM_CONF too, as
# does whoever uses the node: of the rest only what has a job id is ours.
# Prints the kind and the process id of each.
ours() {
    local process name kind
    for process in /proc/[0-9]*; do
        name=$(cat "$process/comm" 2>/dev/null) || continue
        case $name in
        munged | slurmctld | slurmd) kind=daemon ;;
        slurmstepd) kind=step ;;
        *) kind=job ;;
        esac
        if [[ $kind == step ]]; then
            [[ $(readlink "$process/cwd") == "$dir/log" ]] || continue
        else
            grep -qzxF "SLURM_CONF=$dir/slurm.conf" "$process/environ" 2>/dev/null || continue
            [[ $kind == daemon ]] || grep -qz '^SLURM_JOB_ID=' "$process/environ" 2>/dev/null || continue
        fi
        echo "$kind ${process#/proc/}"
    done
}

stop() {
    local deadline=$((SECONDS + 10)) signal found kind pid
    while found=$(ours) && [[ -n $found ]]; do
        ((SECONDS < deadline + 5)) || { echo "cannot end: $found" >&2; exit 1; }
        while read -r kind pid; do
            # Daemons are asked first; a job would only take its time, or requeue.
            signal=KILL
            [[ $kind != daemon ]] || ((SECONDS >= deadline)) || signal=TERM
            kill -s "$signal" "$pid" 2>/dev/null || true
        done <<<"$found"
        sleep 0.2
    done
}

free_ports() {
    # Below the range from which the kernel takes ports for outgoing connections.
    python3 - <<'PYTHON'
import random, socket
ports = []
while len(ports) < 2:
    port = random.randrange(20000, 32000)
    with socket.socket() as trial:
        try:
            trial.bind(("", port))
        except OSError:
            continue
    if port not in ports:
        ports.append(port)
print(*ports)
PYTHON
}

configure() {
    local node cpus memory ports
    node=$(hostname -s)
    cpus=$(nproc)
    memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    ports=$(free_ports)
    # Sockets lie in here, and the kernel cuts their paths at 108 characters.
    ((${#dir} + ${#node} <= 72)) || { echo "the path is too long: $dir" >&2; exit 1; }
    [[ $dir != *[[:space:],#]* ]] || { echo "slurm.conf cannot hold: $dir" >&2; exit 1; }
    mkdir -p "$dir"/{state,spool,log}
    dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
    chmod 600 "$dir/munge.key"
    # cred_expire is also how long a requeued job waits: 2 minutes by default, and
    # no less than 5 seconds.
    cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=10
MailProg=/bin/true
NodeName=$node NodeAddr=127.0.0.1 CPUs=$((cpus > 2 ? cpus : 2)) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
}

failed() {
    tail -n 20 "$dir"/log/* >&2
    stop
    exit 1
}

start() {
    local need deadline
    need=$(missing)
    [[ -z $need ]] || cannot_run "no ${need//$'\n'/, }; run: tests/slurm_node.sh install"
    [[ $EUID == 0 ]] || cannot_run "the daemons need root; run: sudo tests/slurm_node.sh start DIR"
    stop
    configure
    export SLURM_CONF="$dir/slurm.conf"
    # Output goes to a file: a daemon must not hold open a pipe of the caller.
    {
        # --force: it dislikes private folders above the socket, as those of pytest.
        munged --force --origin=127.0.0.1 --key-file="$dir/munge.key" \
            --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
            --log-file="$dir/log/munged.log" --seed-file="$dir/munged.seed" &&
            slurmctld -c && slurmd
    } </dev/null >"$dir/log/start.log" 2>&1 || failed
    deadline=$((SECONDS + 60))
    until [[ $(timeout 10 sinfo --noheader --format=%T 2>/dev/null) == idle ]]; do
        ((SECONDS < deadline)) || failed
        sleep 0.2
    done
    echo "SLURM_CONF=$SLURM_CONF"
}

install() {
    [[ -n $(missing) ]] || return 0
    [[ $EUID == 0 ]] || cannot_run "installing needs root; run: sudo tests/slurm_node.sh install"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends slurm-wlm munge >/dev/null
}

case ${1-}:$# in
install:1) install ;;
start:2 | stop:2)
    dir=$(realpath -m "$2")
    "$1"
    ;;
*)
    echo "usage: tests/slurm_node.sh install | start DIR | stop DIR" >&2
    exit 2
    ;;
esac
