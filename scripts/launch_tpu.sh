#!/usr/bin/env bash
# An experiment on a cloud TPU, from nothing to nothing: creates it, installs, trains on all of its
# workers, fetches the results and deletes it, whatever happens on the way. See docs/tpu.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/launch_tpu.sh [options] [-- argument of main.py ...]

  --name=NAME         of the TPU and its request                      (cxr-jax)
  --project=PROJECT   the cloud project                               (gcloud's own)
  --zone=ZONE         where                                           (us-west4-a)
  --type=TYPE         accelerator type; 8 chips, one host             (v5litepod-8)
  --version=VERSION   runtime image                                   (v2-alpha-tpuv5-lite)
  --config=CONFIG     the experiment                                  (configs/phantom.py)
  --films=DIR         radiographs to copy to the workers              (none)
  --bucket=BUCKET     mounted on every worker to hold the work directory; several hosts need one
  --results=DIR       where the results go on this machine            (runs/NAME)
  --on_demand         ask for the TPU at once instead of queueing for it
  --spot              cheaper; may be taken away
  --keep              do not delete the TPU at the end
  --dry-run           print every command, run none
  --help              this
TEXT
}

die() {
  echo "launch_tpu.sh: $*" >&2
  exit 2
}

name=cxr-jax project='' zone=us-west4-a type=v5litepod-8 version=v2-alpha-tpuv5-lite
config=configs/phantom.py films='' bucket='' results=''
on_demand=false spot=false keep=false dry_run=false
arguments=() root=$(cd "$(dirname "$0")/.." && pwd)
kind='' scratch='' child='' created=false

parse() {
  while (($#)); do
    case $1 in
      --name=?*) name=${1#*=} ;;
      --project=?*) project=${1#*=} ;;
      --zone=?*) zone=${1#*=} ;;
      --type=?*) type=${1#*=} ;;
      --version=?*) version=${1#*=} ;;
      --config=?*) config=${1#*=} ;;
      --films=?*) films=${1#*=} ;;
      --bucket=?*) bucket=${1#*=} ;;
      --results=?*) results=${1#*=} ;;
      --on_demand) on_demand=true ;;
      --spot) spot=true ;;
      --keep) keep=true ;;
      --dry-run) dry_run=true ;;
      --help) usage && exit 0 ;;
      --)
        shift
        arguments=("$@")
        return
        ;;
      *) die "unknown or empty option '$1'; --help lists them" ;;
    esac
    shift
  done
}

check() {
  [[ $name =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
    die "--name=$name: lower-case letters, digits and hyphens only, a letter first"
  [[ -f $root/${config%%:*} ]] || die "--config=$config: there is no file ${config%%:*} in $root"
  [[ -z $films || -d $films ]] || die "--films=$films: there is no such folder"
  [[ $bucket != gs://* ]] || die "--bucket=$bucket: the name alone, ${bucket#gs://}"
  # Of every generation so far, the types that end in up to 8 are one host.
  if [[ $type =~ -([0-9]+)$ ]] && ((BASH_REMATCH[1] > 8)) && [[ -z $bucket ]]; then
    die "--type=$type has several hosts, which need a common --bucket; see docs/tpu.md"
  fi
  $dry_run || command -v gcloud >/dev/null ||
    die "gcloud is not installed; see docs/tpu.md, or add --dry-run to see the commands"
  [[ -z $films ]] || films=$(cd "$films" && pwd)
  results=${results:-$root/runs/$name}
}

# Prints a command as a shell would take it and, unless this is a dry run, runs it.
run() {
  printf '+%s\n' "$(printf ' %q' "$@")" >&3
  $dry_run && return
  # In the background, because bash would put off a signal until a foreground command ends.
  "$@" <&0 &
  child=$!
  wait "$child"
}

tpus() { # GROUP COMMAND ARGUMENT ...
  run gcloud compute tpus "$@" --zone="$zone" ${project:+"--project=$project"}
}

on_workers() { # WORKER SCRIPT
  tpus tpu-vm ssh "$name" --worker="$1" --command="$2"
}

copy_to_workers() { # FILE ...
  tpus tpu-vm scp "$@" "$name:" --worker=all
}

create() {
  local options=(--accelerator-type="$type")
  $spot && options+=(--spot)
  # What is there already is somebody's work, and must not be deleted at the end.
  if ! $dry_run && tpus "$kind" describe "$name" >/dev/null 2>&1; then
    die "there is a TPU or request '$name' already; choose another --name or delete it"
  fi
  created=true
  if $on_demand; then
    tpus tpu-vm create "$name" --version="$version" "${options[@]}"
  else
    tpus queued-resources create "$name" --node-id="$name" --runtime-version="$version" \
      "${options[@]}"
    wait_for_turn
  fi
}

wait_for_turn() {
  local state='' failures=0
  until [[ $state == ACTIVE ]]; do
    if state=$(tpus queued-resources describe "$name" --format='value(state.state)'); then
      failures=0
    else # one dropped connection does not cost the place in the queue
      state="unknown: the question failed" failures=$((failures + 1))
      ((failures < 10)) || {
        echo "launch_tpu.sh: the queue did not answer ten times" >&2
        return 1
      }
    fi
    $dry_run && return
    echo "$(date +%T) $name is $state"
    case $state in
      ACTIVE) ;;
      FAILED | SUSPENDED | SUSPENDING | DELETING)
        echo "launch_tpu.sh: the request ended as $state" >&2
        return 1
        ;;
      *) sleep "${CXR_POLL_SECONDS:-30}" ;;
    esac
  done
}

delete() {
  local force=()
  $on_demand || force=(--force) # the request and the TPU that it got
  tpus "$kind" delete "$name" ${force[@]+"${force[@]}"} --quiet
}

# Runs however the script ends: a TPU that nobody uses costs as much as one that works.
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  [[ -z $child ]] || kill "$child" 2>/dev/null || true
  rm -rf "$scratch"
  if $created && $keep; then
    echo "launch_tpu.sh: $name was kept and goes on costing money" >&2
  elif $created && ! delete; then
    echo "launch_tpu.sh: $name could not be deleted and goes on costing money; delete it by hand" >&2
    ((status)) || status=1
  fi
  exit "$status"
}

# What every worker runs before the training. The image's own Python may be older than the 3.11 that
# is needed; uv brings one.
install_script() {
  cat <<'REMOTE'
set -e
rm -rf cxr_jax films
mkdir -p cxr_jax films
tar -xzf cxr_jax.tar.gz -C cxr_jax
if [ -f films.tar.gz ]; then tar -xzf films.tar.gz -C films; fi
cd cxr_jax
python3 -m pip install --quiet --user uv
python3 -m uv venv --quiet --python=3.11 .venv
python3 -m uv pip install --quiet --python=.venv -r requirements.txt 'jax[tpu]'
REMOTE
}

# A bucket looks like a folder to every worker: the work directory that they share. So none may keep
# to itself what it has seen there, as gcsfuse would on a TPU; and Orbax ends a checkpoint by renaming
# its folder.
mount_script() {
  cat <<'REMOTE'
set -e
list=/etc/apt/sources.list.d/gcsfuse.list key=/usr/share/keyrings/cloud.google.asc
packages=https://packages.cloud.google.com/apt
curl -fsS "$packages/doc/apt-key.gpg" | sudo tee "$key" >/dev/null
echo "deb [signed-by=$key] $packages gcsfuse-$(lsb_release -cs) main" | sudo tee "$list" >/dev/null
sudo apt-get update -qq
sudo apt-get install -y -qq gcsfuse
mkdir -p bucket
REMOTE
  local options=(--implicit-dirs --rename-dir-limit=200000)
  options+=(--metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0)
  echo "mountpoint -q bucket || gcsfuse ${options[*]} $(printf %q "$bucket") bucket"
}

install() {
  run git -C "$root" archive --format=tar.gz --output="$scratch/cxr_jax.tar.gz" HEAD
  copy_to_workers "$scratch/cxr_jax.tar.gz"
  if [[ -n $films ]]; then
    run tar -czf "$scratch/films.tar.gz" -C "$films" .
    copy_to_workers "$scratch/films.tar.gz"
  fi
  on_workers all "$(install_script)"
  [[ -z $bucket ]] || on_workers all "$(mount_script)"
}

# The work directory on the workers, seen from their home.
workdir() {
  [[ -n $bucket ]] && echo "bucket/$name" || echo "runs/$name"
}

train() {
  local command=(.venv/bin/python main.py --distributed "--config=$config")
  command+=("--workdir=../$(workdir)")
  command+=(${arguments[@]+"${arguments[@]}"})
  [[ -z $films ]] || command=(env CXR_DATA=../films "${command[@]}")
  on_workers all "cd cxr_jax &&$(printf ' %q' "${command[@]}")"
}

fetch() {
  on_workers 0 "tar -czf results.tar.gz -C $(workdir) ." &&
    tpus tpu-vm scp "$name:results.tar.gz" "$scratch/" --worker=0 &&
    run mkdir -p "$results" &&
    run tar -xzf "$scratch/results.tar.gz" -C "$results"
}

main() {
  exec 3>&1 # where commands are shown, also those whose output is read
  parse "$@"
  check
  $on_demand && kind=tpu-vm || kind=queued-resources
  scratch=$(mktemp -d)
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  create
  install
  local status=0
  train || status=$?
  # What a failed run has written says why it failed.
  fetch || ((status)) || status=1
  ((status == 0)) || echo "launch_tpu.sh: the run ended with status $status" >&2
  return "$status"
}

main "$@"
