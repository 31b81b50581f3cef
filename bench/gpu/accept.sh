#!/bin/sh
# Everything that is claimed of a card, on one: see accept.py, which this runs.
exec "${PYTHON:-python3}" "$(dirname "$0")/accept.py" "$@"
