# Reads the samples of a soak run (see soak.sh) and compares the medians of the first and the last third of those that were taken
# of the last server, which ran for about half of the time. Memory, descriptors and the rest may grow by a tenth and a fixed slack.
BEGIN {
    split("memory descriptors log slots tables", name, " ")
    split("KiB . bytes . bytes", unit, " ")
    # What caches may still take in that were not full (64 MiB of replies), one more round of work in progress, and the 64 MiB that SQLite's
    # log gets to and keeps, in hours on a slow machine: KiB, descriptors, bytes, slots, bytes.
    split("65536 1024 67108864 0 16777216", slack, " ")
}
NF == 7 {
    if ($2 != server) { server = $2; count = 0; starts++ }
    count++
    for (i = 1; i <= 5; i++) value[i, count] = $(i + 2)
}
function median(figure, from, to, n, j, k, sorted, held) {
    n = 0
    for (j = from; j <= to; j++) {
        held = value[figure, j]
        for (k = n++; k > 0 && sorted[k] > held; k--) sorted[k + 1] = sorted[k]
        sorted[k + 1] = held
    }
    return sorted[int((n + 1) / 2)]
}
END {
    third = int(count / 3)
    if (third < 3) { print "too few samples of the last server: " count + 0; exit 1 }
    printf "%d servers; of the last, %d samples: medians of the first and of the last third\n", starts, count
    for (i = 1; i <= 5; i++) {
        first = median(i, 1, third); last = median(i, count - third + 1, count)
        grows = last > first * 1.1 + slack[i]
        failed += grows
        printf "%-12s %14d %14d %s%s\n", name[i], first, last, unit[i] == "." ? "" : unit[i], grows ? " GROWS" : ""
    }
    if (!failed) print "all of it is flat"
}
