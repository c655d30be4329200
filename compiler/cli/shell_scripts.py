"""What shells run to complete snnc. Each asks `snnc` itself, by click's protocol for that shell.

A value behind `--option=` is completed alone. Behind a name that ends in `=` no space is added.
"""

BASH = """\
_snnc_completion() {
    local line word at=0
    local -a words=()
    # Bash makes three words of --option=value.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
        if [[ $word != = || ${words[at - 1]} != --* ]]; then words[at++]=$word; fi
    done
    words[at]=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
        if [[ $line == plain,*= ]]; then compopt -o nospace; fi
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD="$at" _SNNC_COMPLETE=bash_complete snnc 2>/dev/null)
}

complete -o nosort -F _snnc_completion snnc
"""

ZSH = """\
#compdef snnc

_snnc_completion() {
    local kind value about
    local -a answer names described open
    (( $+commands[snnc] )) || return 1
    # zsh takes braces out of words that are not quoted, and would expand them.
    [[ $words[CURRENT] == *\\{* && ${words[CURRENT]%%\\{*} != *[\\"\\']* ]] && return 1
    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        _SNNC_COMPLETE=zsh_complete snnc 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    for kind value about in "${answer[@]}"; do
        case $kind in
            file) _files ;;
            dir) _files -/ ;;
            plain)
                if [[ $value == *= ]]; then
                    open+=("$value")
                elif [[ $about == _ ]]; then
                    names+=("$value")
                else
                    described+=("$value:$about")
                fi
                ;;
        esac
    done
    (( $#described )) && _describe -V snnc described
    (( $#names )) && compadd -V snnc -a names
    (( $#open )) && compadd -S '' -V snnc -a open
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _snnc_completion "$@"
elif (( $+functions[compdef] )); then
    compdef _snnc_completion snnc
else
    print -u2 'snnc: completion needs compinit: autoload -U compinit; compinit'
fi
"""

FISH = """\
function _snnc_completion
    set -l before (commandline --current-process --cut-at-cursor)
    set -l word (commandline --current-token --cut-at-cursor)
    set -l option (string match --regex -- '^--[^=]+=' $word)
    set -l typed (string replace --regex -- '^--[^=]+=' '' $word)
    for line in (env COMP_WORDS="$before" COMP_CWORD="$word" _SNNC_COMPLETE=fish_complete snnc 2>/dev/null)
        set -l answer (string split --max 1 , -- $line)
        switch $answer[1]
            case plain
                printf '%s%s\\n' "$option" $answer[2]
            case file dir
                for path in (complete --do-complete "'' $typed")
                    printf '%s%s\\n' "$option" $path
                end
        end
    end
end

complete --command snnc --erase
complete --command snnc --no-files --keep-order --arguments '(_snnc_completion)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
