# rshell's part of an interactive bash: the user's own startup files, and then the hooks.
#
# bash reads this file as $ENV, which it does at its start only with --posix. That is turned off
# first, and what bash would have read without it is read. The functions are defined before, so
# that no alias of the user's can get into them.
#
# Hazards:
# - The line editor goes on with the very memory of PS1 that it showed, so that a widget must not
#   change PS1: after an expansion of history that fails, freed memory would be shown. While the
#   shell is idle PS1 is therefore unset, not empty: there is nothing to be freed.
# - `set -e`, `-u`, `-x`, ERR and DEBUG traps, readonly variables and odd `shopt`s are the user's,
#   and hold here as well. What is reported returns 0, and hides what it may print. bash itself
#   restores `$?` and PIPESTATUS behind hooks and widgets, but `$_` only behind hooks: it becomes
#   the last argument of a widget's last command.
# - bash-preexec takes the first command behind its last hook for the user's, unless the command
#   is in PROMPT_COMMAND, between two `;`: hence the strange `/dev/null`.
# - The probe may come in the middle of a text that is not finished. The parser is not at the
#   beginning of a command then, and knows no `{` there but behind a newline.
# - While a question is worked on, stdout and stderr are /dev/null, for the line editor draws as
#   well. An interrupt gets the shell to its next prompt: there `__rs_unmute` stands first.
# - An interrupt that kills a program of a completion lets that go on, and leaves the terminal as
#   it was between two lines: the editor hears no key then. It takes an interrupt more.
# - A completion that loops within bash hears no interrupt at all, here as in any bash.

__rs_at=7770  # the first index in PROMPT_COMMAND that we use
__rs_element='{ __rs_report; } >"/dev/${__rs_no:+;__rs_report;}null" 2>&1'
__rs_has_array=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501))
__rs_hidden= __rs_err= __rs_off= __rs_verify= __rs_taken= __rs_asked=0

__rs_return() { builtin return "$1"; }

# In the PROMPT_COMMAND of a bash that runs only one: first of all, keep what the user's may change.
__rs_first() {
  __rs_status=$? __rs_arg=$_
  __rs_unmute
  [[ $- == *e* ]] || builtin return "$__rs_status"
}

# Have back what nothing can be reported without.
__rs_enable() {
  __rs_able=
  builtin printf -v __rs_able x || :
  if [[ ! $__rs_able ]]; then
    unset -f builtin
    enable builtin
  fi
  builtin enable printf read
}

# At the prompt: report, and wait until told to go on.
__rs_report() {
  __rs_now=$? __rs_last=$_
  __rs_enable
  builtin local "__rs_now=$__rs_now" "__rs_last=$__rs_last"
  __rs_restore
  builtin local "__rs_flags=$-" "__rs_mode=emacs" "__rs_go=" "__rs_shown"  # see `set -k`
  # Without a line editor there is nobody to take a line: it is used as it is until it has one.
  if [[ ! -o vi && ! -o emacs ]]; then builtin return 0; fi
  builtin local -; builtin set +efkuvx
  if ((__rs_has_array)); then __rs_arg=$__rs_last; else __rs_now=$__rs_status; fi
  if [[ -o vi ]]; then __rs_mode=vi; fi
  if [[ $__rs_verify ]]; then __rs_verify=; builtin shopt -s histverify; fi
  if [[ $__rs_options ]]; then builtin unset -f compopt; __rs_options=; fi
  if [[ -v PS1 || ! $__rs_hidden ]]; then __rs_ps1=$PS1; fi
  __rs_number='\#' __rs_number=${__rs_number@P}
  __rs_shown=$__rs_ps1
  # bash counts one command less in a prompt that is expanded like this.
  if [[ $__rs_shown == *'\'[#!]* && $__rs_shown != *'\\'[#!]* ]]; then
    __rs_shown=${__rs_shown//'\#'/$((__rs_number + 1))}
    __rs_shown=${__rs_shown//'\!'/${HISTCMD-'\!'}}
  fi
  __rs_return "$__rs_now" "$__rs_arg"
  { __rs_shown=${__rs_shown@P}; } 2>&0
  builtin printf '%s\0' S 8 "$__rs_now" "$__rs_flags" "$__rs_mode" "$PWD" "$__rs_shown" "" \
    "$__rs_taken" "$((++__rs_asked))" \
    >"$__rs_dir/out"
  while [[ $__rs_go != "go $__rs_asked" ]]; do
    # A trap of the user's may end it early.
    IFS= builtin read -r -d '' __rs_go <"$__rs_dir/in" || (($? > 128)) || builtin break
  done
  case ${PS1@a} in
    "" | x) if [[ -v PS1 ]]; then __rs_hidden=-${PS1@a}; builtin unset -v PS1; fi ;;
  esac
  builtin bind 'set enable-bracketed-paste on'
  builtin bind 'set show-mode-in-prompt off'
  __rs_hook
  if builtin declare -F __bp_interactive_mode; then __bp_interactive_mode; fi
  builtin return 0
}

# Give PS1 back. No widget does anything else with it.
__rs_show() {
  if [[ $__rs_hidden && ! -v PS1 ]]; then
    PS1=$__rs_ps1
    if [[ $__rs_hidden == *x ]]; then builtin export PS1; fi
  fi
  __rs_hidden=
}

# Have the report run as the last of the hooks; behind `$1` where that is given.
__rs_hook() {
  builtin local __rs_index "__rs_wanted=${1:+$1; }$__rs_element"
  if [[ ${PROMPT_COMMAND[*]@a} == *r* ]]; then builtin return 0; fi
  if ((!__rs_has_array)); then
    __rs_wanted=${PROMPT_COMMAND//$'__rs_first\n'/}
    __rs_wanted=${__rs_wanted//$'\n'"$__rs_element"/}
    __rs_wanted=$'__rs_first\n'${__rs_wanted:-:}$'\n'$__rs_element
    if [[ $PROMPT_COMMAND != "$__rs_wanted" ]]; then PROMPT_COMMAND=$__rs_wanted; fi
    builtin return 0
  fi
  if ((${#PROMPT_COMMAND[*]})) && [[ ${PROMPT_COMMAND[-1]} == "$__rs_wanted" ]]; then
    builtin return 0
  fi
  for __rs_index in "${!PROMPT_COMMAND[@]}"; do
    if [[ ${PROMPT_COMMAND[__rs_index]} == *"$__rs_element" ]]; then
      builtin unset -v "PROMPT_COMMAND[$__rs_index]"
    fi
  done
  __rs_index=("${!PROMPT_COMMAND[@]}")
  __rs_index=$((${#__rs_index[*]} ? __rs_index[-1] + 1 : 0))
  PROMPT_COMMAND[__rs_index < __rs_at ? __rs_at : __rs_index]=$__rs_wanted
}

# Whether the report will be run.
__rs_is_hooked() {
  if ((__rs_has_array)); then
    builtin local IFS=$'\n'
    [[ ${PROMPT_COMMAND[*]} == *"$__rs_element"* ]]
  else
    [[ $PROMPT_COMMAND == *"$__rs_element"* ]]
  fi
}

# Key: the next line is what we are told.
__rs_take() {
  builtin local -; builtin set +efkuvx
  __rs_show
  # An expanded line would come back to an editor that nobody sees.
  if builtin shopt -q histverify; then builtin shopt -u histverify; __rs_verify=x; fi
  builtin local __rs_kind=
  { while [[ $__rs_kind != line ]]; do IFS= builtin read -r -d '' __rs_kind || builtin break; done
    IFS= builtin read -r -d '' __rs_taken; IFS= builtin read -r -d '' READLINE_LINE; } <"$__rs_dir/in"
  READLINE_POINT=${#READLINE_LINE} __rs_line=$READLINE_LINE
}

# Whether no command has run because the line wants more: its history can be expanded.
__rs_is_unfinished() {
  __rs_is_hooked && { [[ ! -o histexpand ]] || (builtin history -p "$__rs_line"); }
}

# Key: the shell may be at its prompt without a report, because the hooks are gone, or because an
# expansion of history has failed, so that no command has run. Else this is a `read -e`, or the
# prompt for more.
__rs_probe() {
  __rs_arg=$_
  builtin local - "__rs_count=\#"; builtin set +efkuvx
  if ((BASH_SUBSHELL)) || { __rs_is_hooked && [[ ${__rs_count@P} != "$__rs_number" ]]; } ||
    __rs_is_unfinished; then
    builtin printf '%s\0' K 0 >"$__rs_dir/out"
    builtin return 0
  fi
  __rs_hook
  builtin printf '%s\0' L 0 >"$__rs_dir/out"
}

# Keys: a question. The line editor itself completes what is put into its line; then the line is
# the answer.
__rs_ask() {
  # Completion functions are written without these; `set -e` would end the shell at one that fails.
  __rs_off+=${-//[!eux]/}
  if [[ $__rs_off ]]; then builtin set "+$__rs_off"; fi
  builtin local -; builtin set +fkv
  __rs_kind=
  { while [[ $__rs_kind != @(complete|names) ]]; do IFS= builtin read -r -d '' __rs_kind || builtin break; done
    IFS= builtin read -r -d '' __rs_question
    IFS= builtin read -r -d '' __rs_text; } <"$__rs_dir/in"
  __rs_show
  if [[ $__rs_kind != complete ]]; then __rs_bind '"\e[7778~": set-mark'; builtin return 0; fi
  __rs_bind '"\e[7778~": insert-completions'  # again, where a question for names was interrupted
  __rs_options=-
  if ! builtin declare -F compopt; then
    compopt() { builtin local 'IFS= '; __rs_options+=" $*"; builtin compopt "$@"; }
  fi
  __rs_hook __rs_unmute
  READLINE_LINE=$__rs_text READLINE_POINT=${#__rs_text}
}
__rs_restore() {
  builtin local "__rs_on=$__rs_off"
  __rs_off=
  if [[ $__rs_on ]]; then builtin set "-$__rs_on"; fi
}
__rs_mute() {
  if __rs_is_muting; then exec {__rs_out}>&1 {__rs_err}>&2 >/dev/null 2>&1; fi
}
__rs_is_muting() { [[ $__rs_kind == complete && ${PROMPT_COMMAND[*]@a} != *r* ]]; }
__rs_unmute() {
  if [[ $__rs_err ]]; then
    exec >&"$__rs_out" 2>&"$__rs_err" {__rs_out}>&- {__rs_err}>&-
    __rs_out= __rs_err=
  fi
}
__rs_answer() {
  builtin local - IFS=$' \t\n'; builtin set +ekuvx -f
  if [[ $__rs_kind == complete ]]; then __rs_answer_complete; else __rs_answer_names; fi
  if [[ $__rs_options ]]; then builtin unset -f compopt; __rs_options=; fi
  __rs_hook
}
__rs_answer_complete() {
  # The command's own options of completion, as far as a word that is written plainly tells.
  builtin local __rs_word __rs_words "__rs_line=${READLINE_LINE:0:200000}"
  __rs_words=${__rs_text##*[$'|&;(\n']}
  READLINE_LINE= READLINE_POINT=0
  __rs_words=($__rs_words)
  for __rs_word in "${__rs_words[@]}" ""; do [[ $__rs_word == [A-Za-z_]*=* ]] || builtin break; done
  { builtin printf '%s\0' C 7 "$__rs_question" "" "$__rs_text" "$__rs_line" "$COMP_WORDBREAKS" \
      "$__rs_options"
    builtin complete -p -- "$__rs_word" || builtin complete -p -- "${__rs_word##*/}" ||
      builtin complete -p -D
    builtin printf '\0'; } >"$__rs_dir/out"
}
__rs_answer_names() {
  builtin local -A __rs_names
  builtin local __rs_name IFS=$'\n'
  for __rs_name in $(builtin compgen -A command -A alias -A function -A builtin -A keyword); do
    if [[ $__rs_name != __rs_* ]]; then __rs_names[$__rs_name]=; fi
  done
  builtin printf '%s\0' N "$((${#__rs_names[*]} + 1))" "$__rs_question" "${!__rs_names[@]}" \
    >"$__rs_dir/out"
  __rs_bind '"\e[7778~": insert-completions'
}

__rs_bind() {
  builtin local __rs_map
  for __rs_map in emacs vi-insert vi-command; do builtin bind -m "$__rs_map" "$@"; done
}
__rs_install() {
  builtin local -; builtin set +efkuvx
  __rs_bind -x '"\e[7774~": { __rs_take; } >/dev/null 2>&1; __rs_keep "$__rs_arg"'
  __rs_bind '"\e[7775~": accept-line'
  __rs_bind '"\e[7771~": "\e[7774~\e[7775~"'
  __rs_bind -x '"\e[7772~": '$'\n''{ __rs_probe; } >/dev/null 2>&1; __rs_keep "$__rs_arg"'
  __rs_bind -x '"\e[7776~": { __rs_ask; } >/dev/null 2>&1; __rs_mute "$__rs_arg"'
  __rs_bind '"\e[7778~": insert-completions'
  __rs_bind -x '"\e[7779~": { __rs_answer; } >/dev/null 2>&1; __rs_end "$__rs_arg"'
  __rs_bind '"\e[7773~": "\e[7776~\e[7778~\e[7779~"'
  __rs_hook
}
__rs_keep() { builtin return 0; }
__rs_end() {
  __rs_unmute
  __rs_restore
}

# The user's files may have set PATH anew, without the directory of rshell-get and rshell-put.
__rs_path() {
  builtin local -; builtin set +efkuvx
  builtin local "__rs_own=${RSHELL_CLIENT%/*}"
  if [[ $__rs_own && $PATH && ${PATH@a} != *r* && :$PATH: != *":$__rs_own:"* ]]; then
    PATH+=:$__rs_own
  fi
}

__rs_dir=$RSHELL_DIR
if [[ ${POSIXLY_CORRECT@a} != *x* ]]; then
  builtin set +o posix
  builtin shopt -u inherit_errexit 2>/dev/null
fi
if [[ ${RSHELL_ENV+x} ]]; then ENV=$RSHELL_ENV; else builtin unset ENV; fi
builtin unset RSHELL_DIR RSHELL_ENV
if [[ ! -o posix && ${HISTFILE@a} != *x* && $HISTFILE == ~/.sh_history ]]; then
  HISTFILE=~/.bash_history
fi
if [[ ! -o posix && ${MAILCHECK@a} != *x* && $MAILCHECK == 600 ]]; then MAILCHECK=60; fi
# Also before the user's files: they may be interrupted, or make PROMPT_COMMAND readonly.
{ __rs_install; } >/dev/null 2>&1
builtin printf 'H\0000\0' >"$__rs_dir/out"
# One command, so that `set -v` in a startup file prints none of it; and no function, in which
# their variables would be local. With `|| :` none of them ends the shell by `set -e`.
{
  if [[ -o posix ]]; then
    if [[ ${ENV-} && -r $ENV ]]; then . "$ENV" || :; fi
  elif builtin shopt -q login_shell; then
    if [[ -r /etc/profile ]]; then . /etc/profile || :; fi
    if [[ -r ~/.bash_profile ]]; then . ~/.bash_profile || :
    elif [[ -r ~/.bash_login ]]; then . ~/.bash_login || :
    elif [[ -r ~/.profile ]]; then . ~/.profile || :
    fi
  else
    if [[ -r /etc/bash.bashrc ]]; then . /etc/bash.bashrc || :
    elif [[ -r /etc/bash/bashrc ]]; then . /etc/bash/bashrc || :
    fi
    if [[ -r ~/.bashrc ]]; then . ~/.bashrc || :; fi
  fi
  { __rs_install; __rs_path; } >/dev/null 2>&1
}
