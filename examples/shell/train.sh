#!/bin/sh
# A training in any language: here awk, which "trains" by a formula. What a sweep needs is the line that it prints.
set -eu
width=$1 rate=$2
awk -v width="$width" -v rate="$rate" 'BEGIN {
    away = log(rate) / log(2) + 6
    printf "val loss %.4f\n", 2 + 10 / width + 0.1 * away ^ 2
}'
