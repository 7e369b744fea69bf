#!/usr/bin/env bash
# Runs a study on the machines of a Slurm job: sbatch slurm.sh STUDY store=/SHARED/FOLDER [OVERRIDES]
# Fill in what is marked SET, or give other values to sbatch. docs/cluster.md explains it.
#
#SBATCH --job-name=offmodel
# SET: the machines, and what the job gets of each. Engines and trainings take turns on the GPUs that there are.
#SBATCH --nodes=2
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=0
#SBATCH --time=24:00:00
# One Ray node on each machine, and no other job there: at its end Ray stops all of your Ray processes on the machine.
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
# A preempted job, and one whose machine fails, is queued again and continues from the store. The signal comes before the
# time limit ends, so that the job is queued again then too.
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
# A job that is queued again keeps its log.
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

# SET: the environment that has offmodel, on the shared file system.
# shellcheck disable=SC1091
source .venv/bin/activate

# SET, if machines reach each other by another address than their first. This script runs on the job's first machine,
# which becomes the head. Ray compares this address with those of the machine, so a host name that /etc/hosts gives as
# 127.0.1.1 would do on none.
address=$(hostname --all-ip-addresses | cut --delimiter=' ' --fields=1)

# Without the token, any user of the cluster's network could run code as you. The home folder is shared.
export RAY_AUTH_MODE=token
[[ -e ~/.ray/auth_token ]] || ray get-auth-token --generate > /dev/null

# Seconds that the machines wait for each other. Ray's default of 30 is too short for a busy file system.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# symmetric-run exits with 0 if Ray does not start, so the study's own exit status goes through a file.
status=$(mktemp)

trap 'scontrol requeue "$SLURM_JOB_ID"' USR1 # It interrupts the first wait.

# Where Slurm does not track processes by cgroups, a preempted job may leave Ray processes, and Ray would refuse to start.
srun ray stop --force > /dev/null

# srun does not take --cpus-per-task from sbatch. Where a machine cannot join, all stop (--kill-on-bad-exit). Where Ray
# crashes later, the study goes on with the other machines (--wait).
# shellcheck disable=SC2016
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 --wait=0 \
  ray symmetric-run --address="$address:6379" --min-nodes="$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
  bash -c 'offmodel run "$@" --address auto; echo $? > "$0"' "$status" "$@" &
step=$!
wait "$step" || wait "$step" || true
exit "$(grep . "$status" || echo 1)"
