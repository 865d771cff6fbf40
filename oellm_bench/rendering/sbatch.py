"""Plan to script text: pure, every value quoted, nothing evaluated that came from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.result import NO_RECORD
from oellm_bench.rendering.directives import Directives, lines
from oellm_bench.shell import quote

# The runner is started in the background so that bash's traps fire at once and hand the signal on. They are set
# before it is started: a signal in between must neither end the script nor get lost. SIGCONT is left alone: SLURM
# sends it along with every warning, and a trap on it can swallow the other signal; it goes along
# with each, for a runner that its script has stopped.
_SUPERVISE = """\
attempt=${1:-} token=${2:-} timeout_s=${3:-}
job_id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-${SLURM_JOB_ID:-}}
exit_file=
if [ -n "$attempt" ]; then
  exit_file="$session/entries/$name/attempts/$attempt/exit.json"
  # A controller that was killed may run a job again that it has forgotten the end of.
  if [ -n "$job_id" ] && grep -qsF '"job_id": "'"$job_id"'"' "$exit_file" &&
    grep -qsF '"token": "'"$token"'"' "$exit_file" && grep -qsF '"restarts": '"${SLURM_RESTART_COUNT:-0}," "$exit_file"
  then
    echo "job $job_id has run to its end already, and is not run again: $exit_file" >&2
    exit 0
  fi
  rm -f -- "$exit_file"
fi

runner='' pending=''
forward() {
  if [ -z "$runner" ]; then pending=$1; return; fi
  kill -s "$1" "$runner" 2>/dev/null || :
  kill -s CONT "$runner" 2>/dev/null || :
}
trap 'forward TERM' TERM
trap 'forward INT' INT
trap 'forward USR1' USR1
trap 'forward USR2' USR2
"$python" -P -m oellm_bench.run_entry --sweep "$session/sweep.json" --entry "$entry" \\
  ${attempt:+--attempt "$attempt"} ${token:+--token "$token"} ${timeout_s:+--timeout-s "$timeout_s"} &
runner=$!
if [ -n "$pending" ]; then forward "$pending"; fi
while :; do
  status=0
  wait "$runner" || status=$?
  kill -0 "$runner" 2>/dev/null || break
done

# The runner writes this file itself; if it was killed, the shell is the last witness.
if [ -n "$exit_file" ] && { [ ! -f "$exit_file" ] || [ -L "$exit_file" ]; }; then
  rm -rf -- "$exit_file"
  mkdir -p -- "${exit_file%/*}"
  returncode=$status
  if [ "$status" -gt 128 ]; then returncode=$((128 - status)); fi
  printf '{"schema_version": 1, "token": "%s", "job_id": "%s", "attempt": %d, "returncode": %d, "restarts": %d,
  "message": "@no_record@"}\\n' \\
    "$token" "$job_id" "$attempt" "$returncode" "${SLURM_RESTART_COUNT:-0}" >"$exit_file.part" &&
    mv -- "$exit_file.part" "$exit_file"
fi
exit "$status"
""".replace("@no_record@", NO_RECORD)


@dataclass(frozen=True, kw_only=True)
class ScriptContext:
    """What all scripts of a session share."""

    session_dir: Path
    project: str
    version: str
    python: str


@dataclass(frozen=True)
class EntryReference:
    """The two names an entry has in a script."""

    id: str
    name: str


def render_entry(
    entry: EntryReference, components: Sequence[Directives], setup: Sequence[str], context: ScriptContext
) -> str:
    """Return the script of one entry. It takes up to three arguments: attempt, token, timeout in seconds.

    `components`: the directives of the job, and those of each further component of a heterogeneous one.
    """
    title = f"entry {entry.name} of {context.project}"
    chosen = f"entry={quote(entry.id)} name={quote(entry.name)}\n"
    return _script(title, components, setup, context, chosen)


def render_array(
    tasks: Mapping[int, EntryReference],
    components: Sequence[Directives],
    setup: Sequence[str],
    context: ScriptContext,
) -> str:
    """Return one script for many entries: SLURM_ARRAY_TASK_ID, plus an offset, picks one by an explicit map.

    The offset is the script's fourth argument: a cluster whose MaxArraySize is smaller than the map runs it in
    chunks, each with indices from 0.
    """
    title = f"{len(tasks)} entries of {context.project}, one per array task"
    cases = "".join(f"  {task}) entry={quote(entry.id)} name={quote(entry.name)} ;;\n" for task, entry in tasks.items())
    chosen = (
        'case "${SLURM_ARRAY_TASK_ID:-}" in\n'
        "  '' | *[!0-9]* | 0?*) echo \"SLURM_ARRAY_TASK_ID is '${SLURM_ARRAY_TASK_ID:-}': no index\" >&2; exit 2 ;;\n"
        "esac\n"
        "task=$((SLURM_ARRAY_TASK_ID + ${4:-0}))\n"
        'case "$task" in\n'
        f"{cases}"
        '  *) echo "task $task is no entry of this script" >&2; exit 2 ;;\n'
        "esac\n"
    )
    return _script(title, components, setup, context, chosen)


def _script(
    title: str, components: Sequence[Directives], setup: Sequence[str], context: ScriptContext, chosen: str
) -> str:
    head = "\n#SBATCH hetjob\n".join("\n".join(lines(directives)) for directives in components)
    root = SessionLayout(context.session_dir).root
    prologue = "".join(f"{line}\n" for line in setup)
    return (
        f"#!/bin/bash\n{head}\n"
        f"# {title}; written by oellm-bench {context.version}.\n"
        "# Arguments: [ATTEMPT [TOKEN [TIMEOUT_S [TASK_OFFSET]]]]; without any it runs as the next attempt.\n"
        f"{prologue}"
        f"{_assignments(session=str(root), python=context.python)}"
        f"{chosen}"
        f"{_SUPERVISE}"
    )


def _assignments(**values: str) -> str:
    return "".join(f"{name}={quote(value)}\n" for name, value in values.items())
