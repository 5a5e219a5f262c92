# Tab completion of `python run.py`, `./run.py`, `uv run run.py` and `heyhi` in fish.

# The answer for the line; status 1 if the line is of something else. A key press asks once.
function __heyhi_is_ours
    set -l line (commandline -cp | string collect)
    set -l tokens (commandline -opc | string replace -r '^~(?=/)' -- $HOME)
    set -l name (string replace -r '.*/' '' -- $tokens[1])
    test "$name" = heyhi; or string match -q '*run.py*' -- $line; or return 1
    set -l code 'from heyhi.commands import main; raise SystemExit(main())'
    set -l ask
    if test "$name" = heyhi
        set ask (__heyhi_find $tokens[1])
    else if string match -q 'python*' -- $name
        set ask (__heyhi_find $tokens[1]) -P -c $code
    else
        set ask (__heyhi_python_beside $tokens) -P -c $code
    end
    test "$ask[1]" != -P -a -n "$ask[1]"; or return 1
    set -g __heyhi_answer ($ask --complete fish $line '' 2>/dev/null </dev/null)
end

# The interpreter beside run.py, or else the first one. Nothing of a checkout is started because one has gone
# there: `__heyhi_find`.
function __heyhi_python_beside
    for word in $argv
        set -l python (string replace -r '(.*/|^)run\.py$' '$1.venv/bin/python' -- $word)
        test "$python" != "$word"; and __heyhi_find $python; and return
    end
    if string match -q '/*' -- "$VIRTUAL_ENV"; and test -x $VIRTUAL_ENV/bin/python
        echo $VIRTUAL_ENV/bin/python
        return
    end
    __heyhi_find python3
end

# The program of a name or a path, if a key press may start it: one in an absolute folder of PATH, in the active
# virtual environment, or in a folder that `heyhi completion --trust` has noted.
function __heyhi_find
    set -l name (string replace -r '.*/' '' -- $argv[1])
    set -l places (string match '/*' -- $PATH)
    set -l folder
    if string match -q '*/*' -- $argv[1]
        set folder (builtin realpath -- (string replace -r '[^/]*$' '' -- $argv[1]) 2>/dev/null); or return 1
        string match -q '/*' -- "$VIRTUAL_ENV"; and set -a places $VIRTUAL_ENV/bin
        set -l file $HOME/.config/heyhi/trusted
        string match -q '/*' -- "$XDG_CONFIG_HOME"; and set file $XDG_CONFIG_HOME/heyhi/trusted
        if test -f $file; and test -O $file
            while read -l place
                string match -q '/*' -- $place; and set -a places $place/bin $place/.venv/bin
            end <$file
        end
    end
    for place in $places
        test -x $place/$name; and not test -d $place/$name; or continue
        # By the name that is trusted, not by the one that is typed: Python takes its settings from there.
        if test -z "$folder"; or test "$folder" = (builtin realpath -- $place)
            echo $place/$name
            return
        end
    end
    return 1
end

for name in python python3 python3.{11,12,13,14,15,16,17,18,19} uv run.py heyhi
    complete -c $name -n __heyhi_is_ours -f -k -a '$__heyhi_answer'
end
# Behind `run.py`, -c is not Python's own.
for name in python python3 python3.{11,12,13,14,15,16,17,18,19}
    complete -c $name -n __heyhi_is_ours -s c -x -k -a '$__heyhi_answer'
end
