#!/bin/bash
# One run on four machines: `srun` starts a process on each, and together they train data parallel. They find each other
# through the run directory, which all of them have to see.
#
#   sbatch examples/slurm/several-nodes.sh config.toml
#
#SBATCH --job-name=tabpo
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --mem=120G
#SBATCH --time=24:00:00
# With cards: a process for each.
##SBATCH --ntasks-per-node=4
##SBATCH --gpus-per-task=1
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

config=${1:?usage: sbatch several-nodes.sh CONFIG}

# If one process fails, the others end by themselves; this also frees the machines at once.
exec srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" tabpo run "$config"
