# Tab completion of `python run.py`, `./run.py`, `uv run run.py` and `heyhi` in fish.

# The answer for the line; status 1 if the line is of something else. A key press asks once.
function __heyhi_is_ours
    set -l line (commandline -cp | string collect)
    set -l tokens (commandline -opc | string replace -r '^~(?=/)' -- $HOME)
    set -l name (string replace -r '.*/' '' -- $tokens[1])
    test "$name" = heyhi; or string match -q '*run.py*' -- $line; or return 1
    set -l code 'from heyhi.commands import main; raise SystemExit(main())'
    set -l ask $tokens[1]
    if test "$name" != heyhi
        string match -q 'python*' -- $name; or set ask (__heyhi_python_beside $tokens)
        set ask $ask -P -c $code
    end
    command -q $ask[1]; or return 1  # else fish says so, into the line
    set -g __heyhi_answer ($ask --complete fish $line '' 2>/dev/null </dev/null)
end

# The interpreter beside run.py.
function __heyhi_python_beside
    for word in $argv
        set -l python (string replace -r '(.*/|^)run\.py$' '$1.venv/bin/python' -- $word)
        if test "$python" != "$word"; and test -x $python
            echo $python
            return
        end
    end
    echo python3
end

for name in python python3 python3.{11,12,13,14,15,16,17,18,19} uv run.py heyhi
    complete -c $name -n __heyhi_is_ours -f -k -a '$__heyhi_answer'
end
# Behind `run.py`, -c is not Python's own.
for name in python python3 python3.{11,12,13,14,15,16,17,18,19}
    complete -c $name -n __heyhi_is_ours -s c -x -k -a '$__heyhi_answer'
end
