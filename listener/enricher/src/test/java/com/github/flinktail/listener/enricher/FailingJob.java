package com.github.flinktail.listener.enricher;

import java.util.function.Supplier;

/** A job whose user code fails. */
public class FailingJob implements Supplier<Throwable> {

    @Override
    public Throwable get() {
        return new Broken();
    }

    static class Broken extends RuntimeException {
        Broken() {
            super("broken", new IllegalStateException("root"));
        }
    }
}
