# rshell's part of an interactive zsh, behind the user's own startup files.
#
# The shell is started with ZDOTDIR=<our directory>, RSHELL_DIR=<the same> and, where the user's
# environment has a ZDOTDIR, RSHELL_ZDOTDIR=<that>. This file is the `.zshenv` there. It gives
# ZDOTDIR back and reads the user's .zshenv; zsh itself reads all that follows, as with ssh.
# What is defined here comes before the user's files, so that no alias and no option of theirs
# changes how it is read; what has to come behind them is done before the first prompt, by an
# event of `sched`, which the shell looks at when all else about the prompt is done.
#
# Hazards:
# - The user's options hold in here: expand the prompt with them, all else with zsh's own.
# - What is traced goes to stderr, and the DEBUG trap runs here too: what the shell calls redirects
#   both, by a group within, for zsh forgets what a hook's definition redirects. Only the prompt's
#   own commands get the terminal.
# - An assignment to a readonly variable ends the function, and no hook runs behind one that is
#   interrupted: the probe reports what the prompt did not.
# - PROMPT_SP would print into the output of a command that ends without a newline, and
#   HIST_VERIFY keep a line back that nobody sees. Both are switched off; ZLE stays on.
# - $? and $pipestatus are a hook function's to change: zsh puts them back. So it does with $_.

typeset -g +x __rs_dir=$RSHELL_DIR __rs_ps1= __rs_rps1= __rs_idle= __rs_verify= __rs_taken= __rs_asked=0 __rs_status=0
if (( ${+RSHELL_ZDOTDIR} )); then ZDOTDIR=$RSHELL_ZDOTDIR; else unset ZDOTDIR; fi
unset RSHELL_DIR RSHELL_ZDOTDIR
unsetopt prompt_sp

__rs_return() { builtin return $1 }

# The first prompt: all of the user's files have been read.
__rs_start() {
  {
    __rs_status=$?
    if [[ $ZSH_EVAL_CONTEXT == *file* ]]; then
      builtin sched +1 __rs_start  # one of the files is editing a line
      builtin return 0
    fi
    __rs_hook
    __rs_path
    __rs_return $__rs_status
    __rs_report
  } 2>/dev/null
}

# The user's files may have set PATH anew, without the directory of rshell-get and rshell-put.
__rs_path() {
  builtin emulate -L zsh
  builtin local own=${RSHELL_CLIENT%/*}
  if [[ -n $own && -n $PATH && ${(t)PATH} != *readonly* && :$PATH: != *":$own:"* ]]; then
    PATH+=:$own
  fi
}

# Install all that a user's file or command may have taken away.
__rs_hook() {
  {
    builtin emulate -LR zsh
    builtin typeset -ga precmd_functions
    precmd_functions=("${(@)precmd_functions:#(__rs_report|__rs_start)}" __rs_report)
    builtin zle -N __rs_take
    builtin zle -N __rs_probe
    builtin zle -N __rs_ask
    builtin zle -C __rs_complete complete-word __rs_complete
  } >/dev/null 2>&1
}

# The last of the precmd functions: say how the command ended and what the prompt is.
__rs_report() {
  {
    builtin typeset -g __rs_status=$? __rs_pipes="${(j: :)pipestatus[@]}"
    # Have back what nothing can be reported without.
    if [[ -z $__rs_status ]]; then
      unset -f builtin
      __rs_status=0 __rs_pipes=0
    fi
    builtin enable printf read
    if [[ -z $__rs_idle || -n ${PS1-} ]]; then __rs_ps1=${PS1-}; fi
    # Two names of one variable, but each counts as unset until it is assigned to.
    if [[ -z ${RPS1-} && -n ${RPROMPT-} ]]; then RPS1=$RPROMPT; fi
    if [[ -z $__rs_idle || -n ${RPS1-} ]]; then __rs_rps1=${RPS1-}; fi
    __rs_render
    __rs_exchange "$-"
    # From the next prompt on behind those that were added: they may print.
    if [[ ${precmd_functions[-1]-} != __rs_report ]]; then __rs_hook; fi
    if [[ -n $__rs_verify ]]; then __rs_verify=; builtin setopt hist_verify; fi
    builtin unsetopt prompt_sp
    builtin setopt zle
    __rs_empty
    __rs_idle=1 __rs_status=
  } >/dev/null 2>&1
}

# The prompt as the user's options have it, with the status that it may show.
__rs_render() {
  builtin setopt local_options local_traps no_xtrace no_err_exit no_err_return
  builtin trap - DEBUG ZERR
  builtin local -ah pipestatus
  pipestatus=(${=__rs_pipes})
  builtin typeset -g __rs_shown= __rs_right=
  {
    __rs_return $__rs_status
    __rs_shown="${(%%)__rs_ps1}"
    if [[ -n $__rs_rps1 ]]; then
      __rs_return $__rs_status
      __rs_right="${(%%)__rs_rps1}"
    fi
  } 2>&0
}

__rs_exchange() {
  builtin emulate -LR zsh
  builtin setopt local_traps
  builtin trap - DEBUG ZERR
  builtin trap '' INT
  builtin local map mode go
  for map in main emacs viins vicmd; do
    builtin bindkey -M $map '\e[7771~' __rs_take '\e[7772~' __rs_probe '\e[7773~' __rs_ask
  done
  builtin bindkey -lL main >|"$__rs_dir/keymap"
  IFS= builtin read -r mode <"$__rs_dir/keymap"
  if [[ $mode == *vi* ]]; then mode=vi; else mode=emacs; fi
  # Its second sequence is how the end of an echo is known.
  if [[ $zle_bracketed_paste[2] != $'\e[?2004l' ]]; then
    builtin typeset -ga zle_bracketed_paste
    zle_bracketed_paste=($'\e[?2004h' $'\e[?2004l')
  fi
  builtin printf '%s\0' S 8 $__rs_status "$1" $mode "$PWD" "$__rs_shown" "$__rs_right" \
    "$__rs_taken" $(( ++__rs_asked )) >"$__rs_dir/out"
  while [[ $go != "go $__rs_asked" ]]; do IFS= builtin read -r -d '' go <"$__rs_dir/in" || break; done
}

__rs_empty() {
  if [[ ${(t)PS1} != *readonly* ]]; then PS1=; fi
  if [[ -n ${RPS1-} && ${(t)RPS1} != *readonly* ]]; then RPS1=; fi
}

__rs_fill() {
  if [[ ${(t)PS1} != *readonly* ]]; then PS1=$__rs_ps1; fi
  if [[ -n $__rs_rps1 && ${(t)RPS1} != *readonly* ]]; then RPS1=$__rs_rps1; fi
}

# Take a line and accept it.
__rs_take() {
  {
    __rs_fill
    __rs_idle=
    if [[ -o hist_verify ]]; then __rs_verify=1; builtin unsetopt hist_verify; fi
    builtin local __rs_kind
    __rs_receive __rs_kind __rs_taken BUFFER
    CURSOR=${#BUFFER}
    builtin zle .accept-line
  } >/dev/null 2>&1
}

__rs_receive() {
  builtin emulate -LR zsh
  builtin setopt local_traps
  builtin trap - DEBUG ZERR
  builtin trap '' INT
  builtin local name
  {
    while [[ ${(P)1} != (line|complete|names) ]]; do
      IFS= builtin read -r -d '' $1 || break
    done
    for name in "${@[2,-1]}"; do IFS= builtin read -r -d '' $name; done
  } <"$__rs_dir/in"
}

# The shell begins to edit a line without having reported: put the hooks back and say so. The
# editor may also be `vared`, or at the rest of an unfinished line.
__rs_probe() {
  {
    if [[ $CONTEXT == start && -z $__rs_idle ]]; then
      __rs_hook
      builtin printf 'L\0000\0' >"$__rs_dir/out"
    else
      builtin printf 'K\0000\0' >"$__rs_dir/out"
    fi
  } >/dev/null 2>&1
}

__rs_ask() {
  {
    builtin setopt local_options local_traps no_xtrace no_err_exit no_err_return unset
    builtin trap - DEBUG ZERR
    builtin local __rs_kind __rs_number __rs_text __rs_is_cut=
    __rs_receive __rs_kind __rs_number __rs_text
    if [[ $__rs_kind == names ]]; then
      __rs_names $__rs_number
    else
      builtin trap - INT
      builtin local -a __rs_found
      builtin local -i __rs_from=-1
      builtin local __rs_before=${functions[compadd]-}
      {
        __rs_fill  # for what runs in there, and for the prompt after an interrupt
        functions[compadd]=$functions[__rs_compadd]
        # Completion functions show how far they are, or that they were interrupted.
        zle() {
          if [[ $1 == -M && $2 == 'Killed by signal'* ]]; then __rs_is_cut=1; fi
          if [[ $1 != -[MR] ]]; then builtin zle "$@"; fi
        }
        BUFFER=$__rs_text
        CURSOR=${#BUFFER}
        builtin zle __rs_complete
      } always {
        builtin unfunction compadd zle
        if [[ -n $__rs_before ]]; then functions[compadd]=$__rs_before; fi
        BUFFER=
      }
      if [[ -n $__rs_is_cut ]]; then
        builtin zle .send-break  # it leads to a prompt, and that to a report
      else
        __rs_empty
        __rs_answer $__rs_number
      fi
    fi
  } >/dev/null 2>&1
}

__rs_names() {
  builtin emulate -LR zsh
  builtin local -aU found
  found=(${(k)builtins} $reswords ${(k)aliases} ${(k)galiases} ${(k)functions:#_*} ${(k)commands}
    ${${(Mk)functions:#_*}:#__rs_*})
  builtin printf '%s\0' N $(( $#found + 1 )) $1 $found >"$__rs_dir/out"
}

__rs_answer() {
  builtin emulate -LR zsh
  builtin local -A seen
  builtin local -a fields
  builtin local item text
  for item in "${__rs_found[@]}"; do
    text=${item%%$'\0'*}
    if (( ! ${+seen[$text]} )); then
      seen[$text]=1
      fields+=("${(@ps:\0:)item}")
    fi
  done
  if (( __rs_from < 0 )); then __rs_from=$#__rs_text; fi
  builtin printf '%s\0' C $(( $#fields + 2 )) $1 $__rs_from "${fields[@]}" >"$__rs_dir/out"
}

# In place of `compadd`, while a question is worked on: keep what it would add. One dummy is
# added instead, for functions look at how many there are.
__rs_compadd() {
  builtin local -a __rs_P __rs_p __rs_i __rs_s __rs_S __rs_d __rs_W __rs_V __rs_f __rs_O __rs_x
  builtin zparseopts P:=__rs_P p:=__rs_p i:=__rs_i s:=__rs_s S:=__rs_S d:=__rs_d W:=__rs_W \
    V:=__rs_V f=__rs_f O:=__rs_O A:=__rs_O D:=__rs_O I:=__rs_x x:=__rs_x X:=__rs_x r:=__rs_x \
    R:=__rs_x F:=__rs_x M+:=__rs_x E:=__rs_x J:=__rs_x o::=__rs_x a=__rs_x l=__rs_x k=__rs_x \
    q=__rs_x e=__rs_x Q=__rs_x n=__rs_x U=__rs_x C=__rs_x 1=__rs_x 2=__rs_x
  if (( ${#__rs_O} )); then
    builtin compadd "$@"
    builtin return
  fi
  builtin local -a __rs_hits __rs_labels
  if (( ${#__rs_d} )); then
    if [[ $__rs_d[2] == \(* ]]; then __rs_labels=(${(Q)${(z)__rs_d[2][2,-2]}})
    else __rs_labels=("${(@P)__rs_d[2]}"); fi
  fi
  builtin compadd -A __rs_hits -D __rs_labels "$@"
  if (( ! ${#__rs_hits} )); then builtin return 1; fi
  __rs_keep
  builtin compadd -U -n -V __rs_dummy -- x
}

__rs_keep() {
  builtin emulate -L zsh
  builtin setopt extended_glob
  builtin local -i from=$(( $#__rs_text - ${#QIPREFIX} - ${#IPREFIX} - ${#PREFIX} )) at=0
  if (( from < 0 )); then from=0; fi
  if (( __rs_from < 0 || from < __rs_from )); then
    # What is there so far begins later.
    if (( __rs_from > from )); then
      __rs_found=("${(@)__rs_found/#/${__rs_text[from+1,__rs_from]}}")
    fi
    __rs_from=$from
  fi
  builtin local quote=$compstate[quote] before text label about after
  before=${__rs_text[__rs_from+1,from]}$QIPREFIX$IPREFIX$__rs_i[2]$__rs_P[2]$__rs_p[2]
  builtin local -a items
  for text in "${(@)__rs_hits[1,2000]}"; do
    (( ++at ))
    label=${__rs_labels[at]-} about=
    if [[ -z $label ]]; then label=${(Q)text}
    elif [[ $label == *' -- '* ]]; then
      about=${${label#* -- }##[[:space:]]#}
      label=${${label%% -- *}%%[[:space:]]#}
    elif [[ $label == "$text"[[:space:]]* ]]; then
      about=${${label#"$text"}##[[:space:]]#}
      label=$text
    fi
    if (( $#__rs_S )); then
      after=$__rs_S[2]
      if [[ $after == ' ' ]]; then after="$quote "; fi
    elif (( $#__rs_f )) && [[ -d $__rs_W[2]${(Q)text} ]]; then
      after=/
      label=${label%/}/
      text=${text%/}
    else
      after="$quote "
    fi
    items+=("$before$text$__rs_s[2]$after"$'\0'"${label//$'\n'/ }"$'\0'"${about//$'\n'/ }")
  done
  if (( ! $#__rs_V )); then items=("${(@o)items}"); fi
  __rs_found+=("${items[@]}")
}

# The completion widget: the user's own completion system, or a simple one where they have none.
__rs_complete() {
  if (( ${+functions[_main_complete]} )); then
    builtin local curcontext=rshell:::
    builtin local -a __rs_completers
    builtin zstyle -a :completion:$curcontext: completer __rs_completers ||
      __rs_completers=(_complete _ignored)
    # Not those that guess, or that replace the word by another.
    __rs_completers=("${(@)__rs_completers:#_(approximate|correct|expand|list|menu|oldlist)*}")
    builtin zstyle ':completion:rshell:*' list-grouped false
    { _main_complete "${__rs_completers[@]}" } always {
      builtin zstyle -d ':completion:rshell:*' list-grouped
    }
  else
    __rs_plain
  fi
  compstate[insert]= compstate[list]=
}

__rs_plain() {
  builtin emulate -L zsh
  builtin setopt extended_glob null_glob
  builtin local typed=${(Q)PREFIX} directory=
  builtin local -a names
  if [[ $compstate[context] == command && $CURRENT == 1 && $typed != */* ]]; then
    compadd -- ${(k)commands} ${(k)builtins} $reswords ${(k)aliases} ${(k)functions:#_*}
    builtin return
  fi
  if [[ $compstate[context] == *parameter* ]]; then
    compadd -S '' -- ${(k)parameters:#__rs_*}
    builtin return
  fi
  if [[ $typed == */* ]]; then directory=${typed%/*}/; fi
  builtin local place=$directory hidden=${PREFIX%"${PREFIX##*/}"}
  if [[ $place == \~* && -z $compstate[quote] ]]; then place=${~place}; fi
  if [[ ${typed##*/} == .* ]]; then names=($place.*(N:t)); else names=($place*(N:t)); fi
  compadd -f -p "$hidden" -W "$place" -- "${names[@]}"
}

builtin printf 'H\0000\0' >"$__rs_dir/out"
__rs_own() {
  if [[ -r ${ZDOTDIR-$HOME}/.zshenv ]]; then . "${ZDOTDIR-$HOME}/.zshenv"; fi
}
# Where the system's file sets ZDOTDIR unless it is set, it has seen ours.
for __rs_file in /etc/zshenv /etc/zsh/zshenv; do
  if [[ -r $__rs_file && "$(<$__rs_file)" == *ZDOTDIR* ]]; then . $__rs_file; fi
done
unset __rs_file
# Nothing that fails in the user's file ends this one.
{ __rs_own } always { TRY_BLOCK_ERROR=0 }
unfunction __rs_own
if ! builtin sched +0 __rs_start 2>/dev/null; then
  precmd_functions+=(__rs_start)
fi
