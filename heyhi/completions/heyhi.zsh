# Tab completion of `python run.py`, `./run.py`, `uv run run.py` and `heyhi` in zsh.

_heyhi() {
    local name=${words[1]:t} line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" answer entry
    [[ -z $compstate[redirect] && ( $name == heyhi || $line == *run.py[\ \"\']* ) ]] || return 1
    local -a ask open open_shown done done_shown
    if ! _heyhi_ask $name; then
        _compskip=all  # zsh's own completion of python starts what is typed
        _files
        return
    fi
    answer=$($ask --complete zsh $line '' 2>/dev/null </dev/null) || return 1
    # What is before a tilde, and it, stays as it is typed: it would be quoted.
    compset -P '(|*=)\~/'
    for entry in ${(f)answer}; do
        local word=${${entry%%$'\t'*}#$IPREFIX} note=${entry#*$'\t'}
        local shown=${word% }${note:+"  -- $note"}
        if [[ $word == *' ' ]]; then
            done+=(${word% }) done_shown+=($shown)
        else
            open+=($word) open_shown+=($shown)
        fi
    done
    # Nothing else is to be tried for this line.
    _compskip=all
    compadd -l -J heyhi -S '' -d open_shown -a open
    compadd -l -J heyhi -d done_shown -a done
    return 0
}

# Whom to ask: the interpreter of the line, the one beside run.py, or else the first one. Nothing of a checkout
# is started because one has gone there: `_heyhi_find`.
_heyhi_ask() {
    local word found=
    if [[ $1 == heyhi || $1 == python* ]]; then
        _heyhi_find ${~${(Q)words[1]}} || return
    else
        for word in $words; do
            word=${~${(Q)word}}
            [[ -z $found && $word == *run.py ]] && _heyhi_find ${word%run.py}.venv/bin/python
        done
        [[ -z $found && ${VIRTUAL_ENV-} == /* && -x $VIRTUAL_ENV/bin/python ]] && found=$VIRTUAL_ENV/bin/python
        [[ -n $found ]] || _heyhi_find python3 || return
    fi
    ask=($found)
    [[ $1 == heyhi ]] || ask+=(-P -c 'from heyhi.commands import main; raise SystemExit(main())')
}

# The program of a name or a path, if a key press may start it: one in an absolute folder of PATH, in the active
# virtual environment, or in a folder that `heyhi completion --trust` has noted.
_heyhi_find() {
    local name=${1:t} place file=${XDG_CONFIG_HOME-}
    local -a places=(${(M)path:#/*})
    if [[ $1 == */* ]]; then
        [[ ${VIRTUAL_ENV-} == /* ]] && places+=($VIRTUAL_ENV/bin)
        [[ $file == /* ]] || file=$HOME/.config
        file=$file/heyhi/trusted
        if [[ -f $file && -O $file ]]; then
            while IFS= read -r place; do
                [[ $place == /* ]] && places+=($place/bin $place/.venv/bin)
            done <$file
        fi
    fi
    for place in $places; do
        # By the name that is trusted, not by the one that is typed: Python takes its settings from there.
        if [[ -x $place/$name && ! -d $place/$name && ( $1 != */* || ${1:h} -ef $place ) ]]; then
            found=$place/$name
            return 0
        fi
    done
    return 1
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
# Patterns come before what is set for a command, and leave other lines to it.
compdef -p _heyhi '(|*/)(python*|uv|run.py|heyhi)'
