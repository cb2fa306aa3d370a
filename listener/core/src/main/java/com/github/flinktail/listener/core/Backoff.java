package com.github.flinktail.listener.core;

import java.util.concurrent.ThreadLocalRandom;

/** Growing pauses with jitter, so that many JVMs do not come back in step. For use by one thread. */
final class Backoff {
    private final long initialMillis;
    private final long maxMillis;
    private long nextMillis;

    Backoff(long initialMillis, long maxMillis) {
        this.initialMillis = initialMillis;
        this.maxMillis = maxMillis;
        this.nextMillis = initialMillis;
    }

    /** Between half of the next pause and all of it. */
    long next() {
        long pause = nextMillis;
        nextMillis = Math.min(maxMillis, nextMillis * 2);
        return pause / 2 + ThreadLocalRandom.current().nextLong(pause - pause / 2 + 1);
    }

    void reset() {
        nextMillis = initialMillis;
    }
}
