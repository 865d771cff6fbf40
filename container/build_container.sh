#!/usr/bin/env bash
# Build an Apptainer image from a definition in this folder, and write down beside it what it was made of.
#
#   build_container.sh --backend B [--definition D] [--requirements F] [--base-image I] --output DIR [--append-date]
#
#   --backend B        folder with the definition: ray-cpu, megatron, nemo
#   --definition D     name of the definition in it, without .def (default: the only one)
#   --requirements F   packages to install (default: the folder's requirements.txt)
#   --base-image I     start from this instead: a .sif file, a sandbox folder, or docker://...
#   --output DIR       folder for D_<machine>.sif and D_<machine>.sif.json
#   --append-date      D_<machine>_<YYYYMMDD>.sif
#
# APPTAINER chooses the program (default: apptainer). Exit status: 0 built, 1 failed, 2 usage.
set -euo pipefail

folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
program=${APPTAINER:-apptainer}
backend='' definition='' requirements='' base_image='' output='' append_date=''

say() { printf 'build_container: %s\n' "$*" >&2; }
usage() { say "$1"; sed -n '2,/^# APPTAINER/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
names() { (cd -- "$1" && printf '%s ' */ | tr -d /); }

while [ $# -gt 0 ]; do
  case $1 in
    --backend | --definition | --requirements | --base-image | --output)
      [ $# -ge 2 ] || usage "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift 2
      ;;
    --append-date) append_date=_$(date -u +%Y%m%d); shift ;;
    -h | --help) sed -n '2,/^# APPTAINER/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) usage "unknown option '$1'" ;;
  esac
done
[ -n "$backend" ] || usage "--backend is missing; there is: $(names "$folder")"
[ -n "$output" ] || usage "--output is missing"
[ -d "$folder/$backend" ] || usage "there is no backend '$backend'; there is: $(names "$folder")"
if [ -z "$definition" ]; then
  definition=$(basename -s .def -- "$folder/$backend"/*.def)
fi
source=$folder/$backend/$definition.def
[ -f "$source" ] || usage "there is no definition '$definition' in $folder/$backend"
requirements=${requirements:-$folder/$backend/requirements.txt}
[ -f "$requirements" ] || usage "there is no file '$requirements'"
command -v "$program" >/dev/null || { say "'$program' is not installed here"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cp -- "$requirements" "$work/requirements.txt"
certificates=$work/ca-certificates.crt
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
  if [ -r "$bundle" ]; then cp -- "$bundle" "$certificates"; break; fi
done
[ -e "$certificates" ] || { say "no bundle of CA certificates is found on this machine"; exit 1; }

mirror=https://deb.debian.org/debian
if command -v apt-get >/dev/null; then # the mirror that this machine uses itself
  found=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 == "bookworm" {print $1; exit}')
  mirror=${found:-$mirror}
fi
sed -e "s|@MIRROR@|$mirror|" -e "s|@REQUIREMENTS@|$work/requirements.txt|" \
  -e "s|@CA_CERTIFICATES@|$certificates|" "$source" >"$work/image.def"
if [ -n "$base_image" ]; then
  case $base_image in
    docker://*) bootstrap=docker from=${base_image#docker://} ;;
    *)
      [ -e "$base_image" ] || { say "there is no base image '$base_image'"; exit 1; }
      bootstrap=localimage from=$(realpath -- "$base_image")
      ;;
  esac
  sed -i -E '/^(Bootstrap|OSVersion|MirrorURL|Include|From):/d' "$work/image.def"
  printf 'Bootstrap: %s\nFrom: %s\n' "$bootstrap" "$from" | cat - "$work/image.def" >"$work/based.def"
  mv -- "$work/based.def" "$work/image.def"
fi

mkdir -p -- "$output"
image=$output/${definition}_$(uname -m)$append_date.sif
say "building $image from $source"
# Compression takes most of the time; level 1 of zstd is six times faster than the default and 7 % larger.
"$program" build --force --fakeroot --mksquashfs-args '-comp zstd -Xcompression-level 1' \
  "$work/image.sif" "$work/image.def" >&2
# Whoever else builds the same image at the same time has a part of his own: the last one whole stays.
mv -- "$work/image.sif" "$image.$$.part"
mv -- "$image.$$.part" "$image"

commit='' changes=''
if git -C "$folder" rev-parse HEAD >/dev/null 2>&1; then
  commit=$(git -C "$folder" rev-parse HEAD)
  changes=$(git -C "$folder" diff HEAD -- . | sha256sum | cut -c1-16)
  [ -n "$(git -C "$folder" diff HEAD -- .)" ] || changes=''
fi
python3 - "$image" "$source" "$requirements" "$base_image" "$commit" "$changes" "$("$program" --version)" <<'PYTHON'
import hashlib, json, os, pathlib, platform, sys, time

image, source, requirements, base_image, commit, changes, program = sys.argv[1:]


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


document = {
    "schema_version": 1,
    "image": os.path.basename(image),
    "sha256": sha256(image),
    "definition": os.path.basename(source),
    "definition_sha256": sha256(source),
    "requirements": pathlib.Path(requirements).read_text().split("\n")[:-1],
    "base_image": base_image,
    "git": {"commit": commit, "uncommitted_sha256": changes},
    "machine": platform.machine(),
    "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "built_with": program,
}
part = f"{image}.json.{os.getpid()}.part"
pathlib.Path(part).write_text(json.dumps(document, indent=1) + "\n")
os.replace(part, image + ".json")
PYTHON
printf '%s\n' "$image"
