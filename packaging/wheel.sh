#!/usr/bin/env bash
# Builds the wheel, installs it into an empty virtual environment, and runs the quick start from there with a reduced
# budget. Usage: packaging/wheel.sh [FOLDER]; the wheel is left in FOLDER (default: target/wheels).
set -euo pipefail
cd "$(dirname "$0")/.."

wheels=${1:-target/wheels}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet 'maturin>=1.9,<2'
# An older wheel must not be taken for the new one.
rm -f "$wheels"/tabpo-*.whl
"$work/build/bin/maturin" build --release --locked --out "$wheels"
wheel=$(ls "$wheels"/tabpo-*.whl)
echo "built $wheel ($(du -h "$wheel" | cut -f1))"

# Without an index: the wheel needs nothing else.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-index "$wheel"
tabpo=$work/venv/bin/tabpo
root=$PWD
cd "$work"
"$tabpo" --version
test "$("$tabpo" -V)" = "$("$work/venv/bin/python" -m tabpo -V)"
"$work/venv/bin/python" -c 'import tabpo; assert tabpo.__all__'
"$tabpo" run "$root/examples/quickstart.toml" \
    --set run.directory="$work/quickstart" \
    --set data.synthetic.sft=400 --set data.synthetic.curated=64 \
    --set data.synthetic.validation=40 --set data.synthetic.test=60 \
    --set sft.epochs=1 --set preference.train.steps=5 --set evaluate.resamples=200 \
    --set predict.max_new_tokens=96
test -s "$work/quickstart/report.html"
"$tabpo" man "$work/man"
test -s "$work/man/tabpo-run.1"
"$tabpo" completions bash > "$work/tabpo.bash"
bash -n "$work/tabpo.bash"
echo "the quick start ran from $(basename "$wheel")"
