package com.github.flinktail.listener.core;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.LoggerFactory;

/** Flink's log, through slf4j alone. A log that fails is never a reason to fail. */
public final class Log {
    private static final String NAME = "com.github.flinktail.listener";
    private static final int REMEMBERED = 64;
    private static final Set<String> SAID = ConcurrentHashMap.newKeySet();

    private Log() {}

    public static void info(String message) {
        try {
            LoggerFactory.getLogger(NAME).info(message);
        } catch (Throwable t) {
            // nowhere left to say so
        }
    }

    public static void warn(String message) {
        try {
            LoggerFactory.getLogger(NAME).warn(message);
        } catch (Throwable t) {
            // nowhere left to say so
        }
    }

    /** Warns of what each of many instances would find again: a listener is made for every job. */
    public static void warnOnce(String message) {
        try {
            if (SAID.size() < REMEMBERED && SAID.add(message)) {
                warn(message);
            }
        } catch (Throwable t) {
            // out of memory, say
        }
    }

    /** One line about an error, without its stack: it must not flood the log of Flink. */
    public static String line(Throwable t) {
        try {
            return t.toString().replace('\n', ' ');
        } catch (Throwable u) {
            return t.getClass().getName();
        }
    }
}
