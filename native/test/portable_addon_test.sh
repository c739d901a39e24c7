#!/bin/sh
# The addon runs on any x86-64 with SSE4: AVX and younger instructions (all that begin with v, and BMI's) appear in functions of
# Highway's namespaces alone, which are called after a look at the CPU. Usage: portable_addon_test.sh ADDON
objdump -d --no-show-raw-insn "$1" | awk '
  /^[0-9a-f]+ <.*>:$/ { name = $2; chosen = name ~ /N_(AVX|SSE4)/; dispatched += name ~ /N_AVX2/; next }
  !chosen && ($2 ~ /^v/ && /%[xyz]mm/ || $2 ~ /^(mulx|shlx|shrx|sarx|rorx|andn|pdep|pext|bzhi|blsr|blsi|blsmsk)$/) {
    if (name != last) print "unguarded: " name " " $2
    last = name
    ++found
  }
  END {
    if (!dispatched) print "no function of N_AVX2: stripped, or not the addon"
    exit found > 0 || !dispatched
  }'
