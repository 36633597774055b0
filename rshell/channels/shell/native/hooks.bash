# rshell's part of an interactive bash: the user's own startup files first, then the hooks.
builtin set +o posix
builtin shopt -u inherit_errexit 2>/dev/null
if [[ $RSHELL_ENV ]]; then ENV=$RSHELL_ENV; else builtin unset ENV; fi
__rs_dir=$RSHELL_DIR
builtin unset RSHELL_DIR RSHELL_ENV
if [[ $HISTFILE == */.sh_history ]]; then HISTFILE=~/.bash_history; fi
if builtin shopt -q login_shell; then
  [[ -r /etc/profile ]] && . /etc/profile
  for __rs_file in ~/.bash_profile ~/.bash_login ~/.profile; do
    [[ -r $__rs_file ]] && { . "$__rs_file"; break; }
  done
  builtin unset __rs_file
else
  [[ -r /etc/bash.bashrc ]] && . /etc/bash.bashrc
  [[ -r ~/.bashrc ]] && . ~/.bashrc
fi

__rs_report() {
  __rs_status=$? __rs_arg=$_
  builtin local - ; builtin set +exuv
  [[ $PS1 ]] && __rs_ps1=$PS1
  [[ :$SHELLOPTS: == *:vi:* ]] && builtin local mode=vi || builtin local mode=emacs
  builtin printf '%s\0' S 6 "$__rs_status" "$-" "$mode" "$PWD" "${__rs_ps1@P}" "" >"$__rs_dir/out"
  builtin local go=; while [[ $go != go ]]; do IFS= builtin read -r -d '' go <"$__rs_dir/in"; done
  [[ ${PS1@a} == *r* ]] || PS1=
  builtin bind 'set enable-bracketed-paste on'
  builtin return $__rs_status
}
__rs_hook() {
  PROMPT_COMMAND[7770]='{ __rs_report; } >/dev/null 2>&1'
}
__rs_hook
__rs_take() {
  builtin local -; builtin set +exuv
  [[ ${PS1@a} == *r* ]] || PS1=$__rs_ps1
  IFS= builtin read -r -d '' READLINE_LINE <"$__rs_dir/in"; READLINE_POINT=${#READLINE_LINE}
  : "$__rs_arg"
}
for __rs_m in emacs vi-insert vi-command; do
  builtin bind -m $__rs_m -x '"\e[7774~": __rs_take "$__rs_arg" 2>/dev/null'
  builtin bind -m $__rs_m '"\e[7775~": accept-line'
  builtin bind -m $__rs_m '"\e[7771~": "\e[7774~\e[7775~"'
done 2>/dev/null; builtin unset __rs_m
