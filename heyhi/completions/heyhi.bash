# Tab completion of `python run.py`, `./run.py`, `uv run run.py` and `heyhi` in bash (4.2 or later).

_heyhi() {
    local name=${COMP_WORDS[0]##*/} line=${COMP_LINE:0:COMP_POINT} tail=$2 answer IFS=$'\n'
    # `nohup` and the like give the line's last word, wherever the cursor is, and the = of `lr=` as a word.
    [[ $line == *"$tail" ]] || tail=${COMP_WORDS[COMP_CWORD]}
    [[ $tail == *[!"$COMP_WORDBREAKS"]* ]] || tail=
    if [[ $name == heyhi || $COMP_LINE == *run.py[\ \"\']* ]]; then
        local -a ask
        _heyhi_ask "$name" || return 0  # files; others' completions of python start what is typed
        if answer=$("${ask[@]}" --complete bash "$line" "$tail" 2>/dev/null </dev/null); then
            compopt +o default +o bashdefault -o nospace
            COMPREPLY=($(printf '%s' "$answer"))
            return
        fi
    fi
    IFS=$' \t\n'
    _heyhi_otherwise "$name" "$@" || :  # where `set -e` holds, a failure would end the shell
}

# Whom to ask: the interpreter of the line, the one beside run.py, or else the first one. Nothing of a checkout
# is started because one has gone there: `_heyhi_find`.
_heyhi_ask() {
    local command=${COMP_WORDS[0]//[\\\"\']/} word found=
    command=${command/#\~/$HOME}
    if [[ $1 == heyhi || $1 == python* ]]; then
        _heyhi_find "$command" || return
    else
        for word in "${COMP_WORDS[@]}"; do
            word=${word//[\\\"\']/}
            word=${word/#\~/$HOME}
            [[ -z $found && $word == *run.py ]] && _heyhi_find "${word%run.py}.venv/bin/python"
        done
        [[ -z $found && ${VIRTUAL_ENV-} == /* && -x $VIRTUAL_ENV/bin/python ]] && found=$VIRTUAL_ENV/bin/python
        [[ $found ]] || _heyhi_find python3 || return
    fi
    ask=("$found")
    [[ $1 == heyhi ]] || ask+=(-P -c 'from heyhi.commands import main; raise SystemExit(main())')
}

# The program of a name or a path, if a key press may start it: one in an absolute folder of PATH, in the active
# virtual environment, or in a folder that `heyhi completion --trust` has noted.
_heyhi_find() {
    local name=${1##*/} folder=${1%/*} rest=$PATH: place file=${XDG_CONFIG_HOME-}
    local -a places=()
    while [[ $rest ]]; do
        [[ $rest == /* ]] && places+=("${rest%%:*}")
        rest=${rest#*:}
    done
    if [[ $1 == */* ]]; then
        [[ ${VIRTUAL_ENV-} == /* ]] && places+=("$VIRTUAL_ENV/bin")
        [[ $file == /* ]] || file=$HOME/.config
        file=$file/heyhi/trusted
        if [[ -f $file && -O $file ]]; then
            while IFS= read -r place; do
                [[ $place == /* ]] && places+=("$place/bin" "$place/.venv/bin")
            done <"$file"
        fi
    fi
    for place in ${places[@]+"${places[@]}"}; do
        # By the name that is trusted, not by the one that is typed: Python takes its settings from there.
        if [[ -x $place/$name && ! -d $place/$name && ($1 != */* || ${folder:-/} -ef $place) ]]; then
            found=$place/$name
            return
        fi
    done
    return 1
}

# What completes other lines of that command: what did so before, else what is loaded for it, else files.
_heyhi_otherwise() {
    local name=$1 option loader; shift
    if [[ -z ${_heyhi_before[$name]-} && $(complete -p -D 2>/dev/null) =~ \ -F\ ([^ ]+) ]]; then
        loader=${BASH_REMATCH[1]}
        complete -r "$name"
        "$loader" "$name" "${@:2}"
        _heyhi_before[$name]=$(complete -p "$name" 2>/dev/null)
        complete -o bashdefault -o default -F _heyhi "$name"
    fi
    [[ ${_heyhi_before[$name]-} =~ \ -F\ ([^ ]+) ]] || return
    local function=${BASH_REMATCH[1]}
    for option in filenames nospace nosort noquote dirnames plusdirs; do
        [[ ${_heyhi_before[$name]-} == *" -o $option "* ]] && compopt -o "$option"
    done
    "$function" "$@"
}

declare -gA _heyhi_before
_heyhi_register() {
    local name line known
    known=$(complete -p 2>/dev/null)
    for name in python python3 python3.{11..19} uv run.py heyhi; do
        while read -r line; do
            [[ $line == *" $name" && $line != *" -F _heyhi "* ]] && _heyhi_before[$name]=$line
        done <<<"$known"
        complete -o bashdefault -o default -F _heyhi "$name"
    done
}
_heyhi_register
unset -f _heyhi_register
