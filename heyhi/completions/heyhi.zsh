# Tab completion of `python run.py`, `./run.py`, `uv run run.py` and `heyhi` in zsh.

_heyhi() {
    local name=${words[1]:t} line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" answer entry
    [[ -z $compstate[redirect] && ( $name == heyhi || $line == *run.py[\ \"\']* ) ]] || return 1
    local -a ask open open_shown done done_shown
    _heyhi_ask $name
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

# Whom to ask: the interpreter of the line, or the one beside run.py.
_heyhi_ask() {
    local word python=python3
    local command=${~${(Q)words[1]}}
    if [[ $1 == heyhi ]]; then
        ask=($command)
        return
    fi
    if [[ $1 == python* ]]; then
        python=$command
    else
        for word in $words; do
            word=${~${(Q)word}}
            [[ $word == *run.py && -x ${word%run.py}.venv/bin/python ]] && python=${word%run.py}.venv/bin/python
        done
    fi
    ask=($python -P -c 'from heyhi.commands import main; raise SystemExit(main())')
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
# Patterns come before what is set for a command, and leave other lines to it.
compdef -p _heyhi '(|*/)(python*|uv|run.py|heyhi)'
