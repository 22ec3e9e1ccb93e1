# The verdict on one suite. Reads the lists of known failures (files named by the variable `known`, each line
# "fail SUITE CASE reason" or "skip SUITE CASE reason"), then the suite's output. Prints a summary line and a line
# for whatever needs a look; ends with status 1 if the suite failed.
BEGIN {
    count = split(known, files, " ")
    for (i = 1; i <= count; i++)
        while ((getline line < files[i]) > 0)
            if (split(line, part, " ") >= 4 && part[1] !~ /^#/ && part[2] == suite) {
                expected[part[3]] = part[1]
                match(line, /^[^ ]+ +[^ ]+ +[^ ]+ +/)
                reason[part[3]] = substr(line, RLENGTH + 1)
            }
}
{ sub(/\r$/, "") }
/^ok / {
    ok++
    if ($2 in expected) notes = notes "    passed, though listed as a known " expected[$2] ": " $2 "\n"
}
/^not ok / {
    name = $3; sub(/:$/, "", name)
    if (expected[name] == "fail") { known_failures++; next }
    failed++
    notes = notes "    " $0 "\n"
}
/^skip / {
    name = $2; sub(/:$/, "", name)
    if (expected[name] == "skip") { known_skips++; next }
    failed++
    notes = notes "    skipped, and not listed: " $0 "\n"
}
/^note / { noted = noted ", " substr($0, 6) }
/^1\.\.[0-9]+$/ { plan = substr($0, 4) + 0 }
/^end [0-9]+$/ { ended = 1; status = $2 + 0 }
END {
    seen = ok + failed + known_failures + known_skips
    if (!ended) { failed++; notes = notes "    the suite did not come to its end\n" }
    else if (plan == "") { failed++; notes = notes "    the suite has no plan: it ended before its last case\n" }
    else if (plan != seen || seen == 0) { failed++; notes = notes "    " plan " cases planned, " seen " seen\n" }
    else if (status && !failed && !known_failures) { failed++; notes = notes "    the suite ended with status " status "\n" }
    text = (ok + 0) " ok"
    if (failed) text = text ", " failed " FAILED"
    if (known_failures) text = text ", " known_failures " known failures"
    if (known_skips) text = text ", " known_skips " known skips"
    text = text noted
    printf "%-14s %-4s %-46s %6.1f s\n%s", suite, failed ? "FAIL" : "pass", text, seconds, notes
    exit failed ? 1 : 0
}
