package com.github.flinktail.listener.core;

import java.util.List;
import org.apache.flink.configuration.Configuration;

/**
 * What a listener reports to. Nothing that it does throws or waits, and it keeps nothing that it is
 * given: an event is text when {@link #report} returns. Safe for use by several threads.
 */
public final class Reporter {
    /** Reports nothing. */
    private static final Reporter OFF = new Reporter(null, null, null);

    private final String source;
    private final Origin origin;
    private final Sender sender;

    private Reporter(String source, Origin origin, Sender sender) {
        this.source = source;
        this.origin = origin;
        this.sender = sender;
    }

    /** A reporter as the configuration wants it; with a wrong option, one that does nothing, said once. */
    public static Reporter of(String source, Configuration conf) {
        try {
            if (!Options.enabled(conf)) {
                return OFF;
            }
            List<String> unknown = Options.unknown(conf);
            if (!unknown.isEmpty()) {
                Log.warnOnce("flinktail: unknown options, ignored: " + String.join(", ", unknown));
            }
            return new Reporter(source, new Origin(conf), Sender.shared(Options.read(conf)));
        } catch (Throwable t) {
            Log.warnOnce("flinktail: no events from " + source + ": " + (t instanceof IllegalArgumentException ? t.getMessage() : Log.line(t)));
            return OFF;
        }
    }

    /** Makes an event of this kind and hands it over, or counts it as dropped. */
    public void report(String kind, Json.Part body) {
        if (sender == null) {
            return;
        }
        try {
            sender.offer(Event.write(sender.nextId(), kind, source, origin, body));
        } catch (Throwable t) {
            sender.drop();
            Log.warnOnce("flinktail: an event could not be made: " + Log.line(t));
        }
    }
}
