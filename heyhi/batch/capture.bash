# What a captured script runs on: every bash of it sources this file (BASH_ENV), and `python run.py ...` is
# written down in place of being run. See capture.py. Works under any `set` options and any IFS of the script.

if ((BASH_VERSINFO[0] < 5)); then
  echo "error: to read a batch, bash 5 or later is needed; this is $BASH_VERSION" >&2
  exit 3
fi

# The file that BASH_ENV named before.
if [[ ${HEYHI_CAPTURE_BASH_ENV-} ]]; then eval . "\"$HEYHI_CAPTURE_BASH_ENV\""; fi

__hh_count=0

# The body of a function that has the name of a Python interpreter.
__hh_body='{
  local -
  set +xa
  local IFS=" " __hh_flags=()
  while [[ ${1-} == -[BEIOPSbdqsuv]* ]]; do __hh_flags+=("$1"); shift; done
  if [[ ! ${1-} -ef $HEYHI_CAPTURE_RUN_PY ]]; then
    command "${FUNCNAME[0]}" "${__hh_flags[@]}" "$@"
    return
  fi
  # What only shows something is run, as a script uses the answer. Whatever else looks like it comes back here:
  # run.py knows better, and writes itself down.
  case "$*" in
    *" --print"* | *" --help"* | *" --explain"* | *" -h"*)
      command "$HEYHI_CAPTURE_PYTHON" "$@"
      return ;;
  esac
  if ((++__hh_count > HEYHI_CAPTURE_MOST)); then
    : >> "$HEYHI_CAPTURE/too_many"
    exit 3
  fi
  # Files for each process: those in the background never mix.
  printf "%s\0" "$EPOCHREALTIME" "${BASH_SOURCE[1]-}" "${BASH_LINENO[0]-0}" "$PWD" "$#" "$@" \
    >> "$HEYHI_CAPTURE/records.$BASHPID"
  if [[ $HEYHI_CAPTURE_ENVIRONMENT ]]; then
    { declare -x; printf "\0"; } >> "$HEYHI_CAPTURE/environments.$BASHPID"
  fi
}'

while read -r __hh_name; do
  eval "function $__hh_name $__hh_body"
done <<< "$HEYHI_CAPTURE_INTERPRETERS"
unset __hh_name __hh_body

exec {BASH_XTRACEFD}>> "$HEYHI_CAPTURE/trace"
PS4=$'+\x01$EPOCHREALTIME\x01$?\x01${BASH_SOURCE-}\x01$LINENO\x01'
set -x
