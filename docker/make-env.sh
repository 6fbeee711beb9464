#!/bin/sh
# Makes .env from docker/env.example, with a random secret in every empty place. An existing .env is left alone.
#
#     docker/make-env.sh [FILE]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${1:-$here/../.env}
umask 077

if [ -e "$target" ]; then
    echo "make-env: $target is there already, and stays as it is; delete it to get new secrets" >&2
    exit 1
fi

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

while IFS= read -r line; do
    case $line in
    AIRFLOW_FERNET_KEY=) line=$line$(head -c 32 /dev/urandom | base64 | tr '+/' '-_') ;;
    AUTOPILOT_ACCESS_KEY=) line=${line}AUTOML$(random_hex 7 | tr 'a-f' 'A-F') ;;
    *=) line=$line$(random_hex 24) ;;
    esac
    printf '%s\n' "$line"
done <"$here/env.example" >"$target.$$"
mv "$target.$$" "$target"
echo "make-env: wrote $target; the password of Airflow's user admin is in it"
