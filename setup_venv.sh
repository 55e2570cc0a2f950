#!/usr/bin/env bash
# Makes the virtual environment from requirements.txt; does nothing when it is up to date.
#
#   bash setup_venv.sh                 in .venv; PYTHON=python3.12 and VENV=DIR choose others
set -euo pipefail
cd "$(dirname "$0")"
venv=${VENV:-.venv}
python=${PYTHON:-python3}
stamp=$venv/requirements.sha256
wanted=$(cat requirements.txt pyproject.toml | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; $python is $("$python" --version). Set PYTHON to another one." >&2
  exit 1
}
echo "installing requirements.txt into $venv (torch is 5 GB: one to three minutes)"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
echo "$wanted" > "$stamp"
