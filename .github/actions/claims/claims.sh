#!/usr/bin/env bash
# What the action does; runs anywhere. claims.sh install MODE | judge | smoke | quick | full
# Reads PAPERS (ids; empty: all), BASE (commit that a change is compared with), DEVICE (cpu or cuda).
set -euo pipefail
harness="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)"
out="${RUNNER_TEMP:-/tmp}/claims"
summary="${GITHUB_STEP_SUMMARY:-/dev/null}"

papers() {  # those asked for, those there are, or with `changed` those that differ from BASE
  if [ -n "${PAPERS:-}" ]; then
    tr ' ' '\n' <<< "$PAPERS" | sed '/^$/d'
  elif [ "${1:-}" = changed ] && [ -n "${BASE:-}" ] && git diff --quiet "$BASE...HEAD" -- src pyproject.toml constraints.txt; then
    git diff --name-only "$BASE...HEAD" -- papers | cut -d/ -f2 | sort -u |
      while read -r paper; do if [ -f "papers/$paper/paper.yaml" ]; then echo "$paper"; fi; done
  else
    for ledger in papers/*/paper.yaml; do basename "$(dirname "$ledger")"; done
  fi
}

judge() {  # verdicts on the records $1, in every form that a job can show
  mkdir -p "$out"
  [ -z "${GITHUB_OUTPUT:-}" ] || echo "folder=$out" >> "$GITHUB_OUTPUT"
  repro export --records "$1" --format json --out "$out/claims.json"
  repro judge --records "$1" --junit "$out/claims.xml" --summary "$summary" --badges "$out/badges"
}

run() {  # a tier ($1) of the papers on standard input; one that fails does not keep the others from running
  local status=0
  repro data fetch --needed --allow-missing
  while read -r paper; do
    repro run "$paper" --tier "$1" --device "${DEVICE:-cpu}" < /dev/null || status=1
  done
  return $status
}

case "$1" in
  install)
    python -m pip install --quiet --upgrade 'pip>=25.1'
    if [ "$2" = judge ]; then
      python -m pip install --quiet -c "$harness/constraints.txt" --group "$harness/pyproject.toml:judge"
      python -m pip install --quiet --no-deps "$harness"
    else
      python -m pip install --quiet -c "$harness/constraints.txt" "$harness"
    fi
    ;;
  judge) judge reference ;;
  smoke) papers changed | run smoke ;;
  quick | full)
    failed=0
    papers | run "$1" || failed=1
    judge local || failed=1
    if compgen -G 'results/reference/*.parquet' > /dev/null; then repro drift reference local || failed=1; fi
    exit $failed
    ;;
  *) echo "claims.sh: unknown mode $1; there are judge, smoke, quick and full" >&2; exit 2 ;;
esac
