#!/usr/bin/env bash
# install.sh [--developer] [--browser]: installs what RepLK needs from Debian's packages; does nothing where it is all there.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache        # compiler and build
  libeigen3-dev libhwy-dev            # matrix products, vector instructions
  libfmt-dev libcli11-dev nlohmann-json3-dev  # text, command line, JSON
  zlib1g-dev libzip-dev libstb-dev    # compressed data, archives, images
  libonnx-dev libprotobuf-dev         # ONNX's schema; its encoding, and that of TensorBoard's events
  libboost-dev                        # CRC-32C, the checksum in TensorBoard's event files
  catch2 libboost-context-dev        # tests, the emulated GPU
  dataset-fashion-mnist               # 70,000 images to train on
)
# Tools for contributors: formatting is checked with this very version, and a test opens reports in a browser.
for option in "$@"; do
  case $option in
    --developer) packages+=(clang-format-14) ;;
    --browser) packages+=(chromium) ;;
    *) echo "install.sh: unknown option $option: --developer or --browser expected" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "install.sh: this system has no apt-get. Install the equivalents of: ${missing[*]}" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install.sh: run as root:  apt-get install ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi
echo "Installing ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
