#!/usr/bin/env bash
# An experiment on a SLURM cluster: installs, submits, follows the log until the job ends, and
# cancels the job if this script is stopped. To be called on a login node, from a clone that the
# compute nodes see too. See docs/tpu.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/launch_slurm.sh [options] [-- argument of main.py ...]

  --name=NAME           of the job                                    (cxr-jax)
  --nodes=N             machines                                      (1)
  --gpus=N              GPUs of each; one process a GPU               (1)
  --cpus=N              CPU cores for each process                    (8)
  --time=LIMIT          as sbatch has it                              (12:00:00)
  --partition=NAME      where                                         (sbatch's own)
  --account=NAME        whose budget                                  (sbatch's own)
  --jax=EXTRA           what to install JAX with                      (cuda12)
  --config=CONFIG       the experiment                                (configs/phantom.py)
  --films=DIR           radiographs, on a disk that the nodes see     (none)
  --workdir=DIR         likewise                                      (runs/NAME)
  --dry-run             print every command, run none
  --help                this
TEXT
}

die() {
  echo "launch_slurm.sh: $*" >&2
  exit 2
}

name=cxr-jax nodes=1 gpus=1 cpus=8 time=12:00:00 partition='' account='' jax=cuda12
config=configs/phantom.py films='' workdir='' dry_run=false
arguments=() root=$(cd "$(dirname "$0")/.." && pwd)
job='' followed=false

parse() {
  while (($#)); do
    case $1 in
      --name=?*) name=${1#*=} ;;
      --nodes=?*) nodes=${1#*=} ;;
      --gpus=?*) gpus=${1#*=} ;;
      --cpus=?*) cpus=${1#*=} ;;
      --time=?*) time=${1#*=} ;;
      --partition=?*) partition=${1#*=} ;;
      --account=?*) account=${1#*=} ;;
      --jax=?*) jax=${1#*=} ;;
      --config=?*) config=${1#*=} ;;
      --films=?*) films=${1#*=} ;;
      --workdir=?*) workdir=${1#*=} ;;
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
  local field
  for field in nodes gpus cpus; do
    [[ ${!field} =~ ^[1-9][0-9]*$ ]] || die "--$field=${!field}: a positive whole number is needed"
  done
  [[ $name =~ ^[A-Za-z0-9][-_.A-Za-z0-9]*$ ]] ||
    die "--name=$name: letters, digits, hyphens, dots and underscores only"
  [[ -f $root/${config%%:*} ]] || die "--config=$config: there is no file ${config%%:*} in $root"
  [[ -z $films || -d $films ]] || die "--films=$films: there is no such folder"
  $dry_run || command -v sbatch >/dev/null ||
    die "sbatch is not installed; call this on a login node, or add --dry-run to see the commands"
  [[ -z $films ]] || films=$(cd "$films" && pwd)
  workdir=${workdir:-$root/runs/$name}
  [[ $workdir == /* ]] || workdir=$PWD/$workdir
}

# Prints a command as a shell would take it and, unless this is a dry run, runs it.
run() {
  printf '+%s\n' "$(printf ' %q' "$@")" >&3
  $dry_run || "$@"
}

install() {
  [[ -x $root/.venv/bin/python ]] || run python3 -m venv "$root/.venv"
  run "$root/.venv/bin/python" -m pip install --quiet -r "$root/requirements.txt" "jax[$jax]"
}

submit() {
  local options=(--parsable "--job-name=$name" "--chdir=$root" "--output=$log" --open-mode=append)
  # JAX gives each process of a node the GPU of its own number, so there is one process a GPU.
  options+=("--nodes=$nodes" "--ntasks-per-node=$gpus" "--gres=gpu:$gpus")
  options+=("--cpus-per-task=$cpus" "--time=$time")
  [[ -z $partition ]] || options+=("--partition=$partition")
  [[ -z $account ]] || options+=("--account=$account")
  # Since SLURM 22.05 srun does not know what sbatch was asked for.
  local command=(srun "--cpus-per-task=$cpus" .venv/bin/python main.py)
  ((nodes * gpus == 1)) || command+=(--distributed)
  command+=("--config=$config" "--workdir=$workdir" ${arguments[@]+"${arguments[@]}"})
  [[ -z $films ]] || command=(env "CXR_DATA=$films" "${command[@]}")
  job=$(run sbatch "${options[@]}" --wrap="$(printf '%q ' "${command[@]}")")
  job=${job%%;*} # --parsable may add the cluster's name
  $dry_run && job=JOB
  echo "job $job, log $log"
}

# The job's state in one word; nothing once the queue has forgotten it, or where it does not answer.
state() {
  squeue --noheader --format=%T --jobs="$job" 2>/dev/null || true
}

follow() {
  local tail='' silent=0
  if ! $dry_run; then
    touch "$log"
    tail -n +1 -F "$log" 2>/dev/null &
    tail=$!
    # One question that fails is no end of the job.
    while ((silent < 3)); do
      sleep "${CXR_POLL_SECONDS:-15}"
      if [[ -n $(state) ]]; then silent=0; else silent=$((silent + 1)); fi
    done
    followed=true
    sleep 1 # for the last lines
    kill "$tail" 2>/dev/null || true
  fi
}

# How the job ended, once the queue has forgotten it.
ending() {
  run sacct --noheader --allocations --parsable2 --format=State --jobs="$job"
}

clean_up() {
  local status=$?
  trap - EXIT INT TERM
  local tails
  tails=$(jobs -p)
  [[ -z $tails ]] || kill "$tails" 2>/dev/null || true
  if [[ -n $job ]] && ! $dry_run && ! $followed; then
    run scancel "$job" || echo "launch_slurm.sh: job $job could not be cancelled" >&2
  fi
  exit "$status"
}

main() {
  exec 3>&1 # where commands are shown, also those whose output is read
  parse "$@"
  check
  log=$workdir/slurm.log
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  run mkdir -p "$workdir"
  install
  submit
  follow
  local end
  end=$(ending) || end=''
  $dry_run && return
  local verdict="job $job ended as $end"
  case $end in
    COMPLETED*) return ;;
    '' | PENDING* | RUNNING* | COMPLETING*) verdict="SLURM does not say how job $job ended" ;;
  esac
  echo "launch_slurm.sh: $verdict; see $log" >&2
  return 1
}

main "$@"
