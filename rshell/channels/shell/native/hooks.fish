# rshell's part of an interactive fish, behind the user's own configuration.
#
# The shell is started with RSHELL_DIR=<our directory> and --init-command "source <this file>",
# which fish does when it has read its configuration.
#
# Hazards:
# - The prompt is drawn by functions of fixed names. While the shell is idle, empty ones stand in
#   their place, and the user's are copies; they are back before a line runs.
# - A key that accepts a line does not run one that is wrong or unfinished. What is wrong is said
#   from here, and reported; what is unfinished is left to fish's own editor, which has the
#   terminal then as if the line were running.
# - `read` takes more than it needs from what it alone is redirected from: the line that may come
#   right behind the word to go on would be lost. It does not in a block that is redirected.
# - Ctrl-C leads to no prompt of its own in fish's editor: its event does.

set -q RSHELL_DIR; and set -g __rs_dir $RSHELL_DIR
set -e RSHELL_DIR
set -g __rs_idle
set -g __rs_start 1
# The user's files may have set PATH anew, without the directory of rshell-get and rshell-put.
if set -q RSHELL_CLIENT
    set -g __rs_own (string replace -r '/[^/]*$' '' -- $RSHELL_CLIENT)
    contains -- $__rs_own $PATH; or set -gx PATH $PATH $__rs_own
end
set -q __rs_asked; or set -g __rs_asked 0

function __rs_status
    return $argv[1]
end

# $pipestatus can't be set but by a pipeline, which starts no process here. Where $status is not
# that of its last part, there was a `not` in front.
function __rs_render
    set -l not ''
    test $__rs_last = $__rs_pipes[-1]; or set not 'not '
    eval $not(string join ' | ' '__rs_status '$__rs_pipes)\n$argv[1]
end

function __rs_report --on-event fish_prompt
    set -g __rs_last $status
    set -g __rs_pipes $pipestatus
    set -q __rs_start; and __rs_reorder
    if test -z "$__rs_idle"
        for name in fish_prompt fish_right_prompt fish_mode_prompt
            builtin functions -e __rs_$name
            builtin functions -q $name; and builtin functions -c $name __rs_$name
        end 2>/dev/null
    end
    set -l shown
    if builtin functions -q __rs_fish_prompt
        set shown (__rs_render __rs_fish_prompt | string collect -N)
    end
    set -l right
    if builtin functions -q __rs_fish_right_prompt
        set right (__rs_render __rs_fish_right_prompt | string collect -N)
    end
    set -l mode emacs
    string match -q '*vi*' -- "$fish_key_bindings"; or string match -q '*hybrid*' -- "$fish_key_bindings"
    and set mode vi
    __rs_bind
    set -g __rs_asked (builtin math $__rs_asked + 1)
    builtin printf '%s\0' S 8 $__rs_last im $mode "$PWD" "$shown" "$right" "$__rs_taken" $__rs_asked >$__rs_dir/out
    set -l go
    begin
        while test "$go" != "go $__rs_asked"
            read -z go; or break
        end
    end <$__rs_dir/in
    if test -z "$__rs_idle"
        function fish_prompt  # of one line without a width: fish repeats so many, less one
            printf '\e[m'
        end
        builtin functions -q __rs_fish_right_prompt; and function fish_right_prompt
        end
        function fish_mode_prompt
        end
        set -g __rs_idle 1
    end
end

# The end of an echo is what fish's own handler prints: what other handlers print is behind that.
function __rs_reorder
    set -e __rs_start
    for line in (functions --handlers-type generic)
        set -l words (string split ' ' -- $line)
        if test "$words[1]" = fish_preexec -a "$words[2]" != __fish_disable_bracketed_paste
            functions -- $words[2] | source
        end
    end
end

function __rs_bind
    for map in default insert visual replace replace_one
        builtin bind -M $map \e\[7771~ __rs_take
        builtin bind -M $map \e\[7772~ __rs_probe
        builtin bind -M $map \e\[7773~ __rs_ask
    end
end

function __rs_fill
    for name in fish_prompt fish_right_prompt fish_mode_prompt
        builtin functions -e $name
        builtin functions -q __rs_$name; and builtin functions -c __rs_$name $name
    end 2>/dev/null
    set -g __rs_idle
end

function __rs_take
    set -l last $status
    set -l kind
    set -l text
    begin
        while test "$kind" != line
            read -z kind; or break
        end
        read -gz __rs_taken
        read -z text
    end <$__rs_dir/in
    __rs_fill
    builtin commandline -r -- $text
    builtin commandline --is-valid
    switch $status
        case 1  # or empty
            builtin commandline -r ''
            builtin printf '\n\e[?2004l\r'
            test -n "$text"; and __rs_refuse $text
            __rs_status $last
            __rs_report
            builtin commandline -f repaint
        case 2
            builtin printf '\e[?2004l\r\e[?2004h'
            builtin commandline -f repaint execute
        case '*'
            builtin commandline -f execute
    end
end

# Say what is wrong with a line.
function __rs_refuse
    set -l fish fish
    status fish-path >/dev/null 2>&1; and set fish (status fish-path)
    builtin printf '%s' $argv[1] | command $fish --no-config --no-execute 2>&1 |
        string replace -r '^<stdin> \(line \d+\): |^\S*Standard input \(line \d+\): ' 'fish: ' |
        string match -v 'warning: Error while reading*'
end

function __rs_interrupted --on-event fish_cancel
    test -n "$__rs_idle"; or __rs_report
end

# An editor begins. Only what is not ours any more is put back: the event may have lost its hook.
function __rs_probe
    set -l last $status
    if not builtin functions -q __rs_report
        builtin source $__rs_dir/hooks.fish
        builtin printf 'L\0000\0' >$__rs_dir/out
        return
    end
    set -l text (commandline | string collect)
    if test (status current-command) = fish -a -z "$__rs_idle" -a -z "$text"
        __rs_status $last  # this is its prompt, and the report of it was interrupted
        __rs_report
        builtin commandline -f repaint
    else
        builtin printf 'K\0000\0' >$__rs_dir/out
    end
end

function __rs_ask
    set -l kind
    set -l number
    set -l text
    begin
        while not contains -- "$kind" complete names
            read -z kind; or break
        end
        read -z number
        read -z text
    end <$__rs_dir/in
    if test "$kind" = names
        set -l names (builtin -n) (builtin functions -an | string match -v '__rs_*') (abbr --list)
        set -l files
        for directory in $PATH
            set files $files $directory/*
        end
        set names $names (string replace -r '.*/' '' -- $files)
        builtin printf '%s\0' N (builtin math (builtin count $names) + 1) $number $names >$__rs_dir/out
        return
    end
    builtin commandline -r -- $text
    set -l token (builtin commandline -ct | string collect)
    builtin commandline -r ''
    set -l start (builtin math (string length -- "$text") - (string length -- "$token"))
    set -l fields
    for line in (builtin complete -C "$text" --escape 2>/dev/null)
        set -l parts (string split -m 1 \t -- $line)
        set -l after ' '
        string match -qr '[/=@:.,-]$' -- $parts[1]; and set after ''
        set -l label $parts[1]
        string match -q '*/*' -- $label; and set label (string match -r '[^/]*/?$' -- $label)
        set fields $fields $parts[1]$after (string unescape -- $label) "$parts[2]"
    end
    builtin printf '%s\0' C (builtin math (builtin count $fields) + 2) $number $start $fields >$__rs_dir/out
end

__rs_bind
