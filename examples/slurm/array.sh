#!/bin/bash
# A comparison as an array of independent jobs: one for each objective and seed, each with a run directory of its own.
# Every task fine-tunes for itself, so give it a model that is fine-tuned already where that takes long.
#
#   sbatch examples/slurm/array.sh config.toml
#
#SBATCH --job-name=tabpo-array
#SBATCH --array=0-8
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
# A run that is asked to stop saves its state; `--requeue` and the same command go on from there.
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

config=${1:?usage: sbatch array.sh CONFIG}
objectives=(dpo ipo tab-po)
seeds=(1 2 3)
objective=${objectives[SLURM_ARRAY_TASK_ID % ${#objectives[@]}]}
seed=${seeds[SLURM_ARRAY_TASK_ID / ${#objectives[@]}]}

# `exec`, so that the signal of Slurm reaches the program.
exec srun tabpo run "$config" --quiet \
    --set "preference.objectives=[\"$objective\"]" \
    --set "preference.seeds=[$seed]" \
    --set "run.directory=runs/array/$objective-$seed"
