#!/bin/sh
# Installs vidsr for one user: sh install.sh [WHEEL or checkout]; without one, the checkout that this file stands in.
# torch and TensorRT come where an NVIDIA driver is. VIDSR_HOME: where to (~/.local/share/vidsr).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
source=${1:-$here}
home=${VIDSR_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/vidsr}
bin=${VIDSR_BIN:-$HOME/.local/bin}
python=${PYTHON:-python3}

[ -e "$source" ] || { echo "install.sh: $source does not exist; name a wheel or a checkout of vidsr." >&2; exit 2; }
command -v "$python" >/dev/null || { echo "install.sh: $python is missing; install Python 3.11 or later." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "install.sh: vidsr needs Python 3.11 or later; say which by PYTHON=python3.12." >&2
    exit 1
}

"$python" -m venv "$home"
pip="$home/bin/python -m pip --disable-pip-version-check"
extra=
if command -v nvidia-smi >/dev/null; then
    extra='[rtx]'
    nvidia-smi --query-gpu=name --format=csv,noheader | grep -vq RTX && extra='[tensorrt]'
elif [ "$(uname -s)" = Darwin ]; then
    extra='[torch]'  # Apple's GPUs
fi
$pip install --quiet "$source$extra"
mkdir -p "$bin"
ln -sf "$home/bin/vidsr" "$bin/vidsr"
"$home/bin/vidsr" --version
case ":$PATH:" in *":$bin:"*) ;; *) echo "Add $bin to PATH, or call $bin/vidsr." ;; esac
