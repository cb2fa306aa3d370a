package com.github.flinktail.listener.core;

import java.io.PrintWriter;
import java.io.Writer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;
import org.apache.flink.util.SerializedThrowable;

/**
 * The fields that tell of a Throwable, written at once so that nothing of it is kept.
 *
 * <p>User code made the Throwable: its methods may throw, never end a chain, or answer differently
 * each time. Whatever fails is left out.
 */
public final class Failure {
    private static final int CLASS_BYTES = 512;
    private static final int MESSAGE_BYTES = 8 * 1024;
    private static final int CHAIN_BYTES = 12 * 1024;
    private static final int CHAIN_MESSAGE_BYTES = 1024;
    private static final int CHAIN_LISTED = 32;
    private static final int CHAIN_WALKED = 1000;
    /** What ends a field: its quotes, its comma. */
    private static final int MARGIN = 32;

    private Failure() {}

    /** Writes the exception fields, or fewer of them if {@code failure} resists; null writes nothing. */
    public static void write(Json json, Throwable failure) {
        if (failure == null) {
            return;
        }
        List<Throwable> chain = chain(failure);
        Throwable root = chain.get(chain.size() - 1);
        json.attempt(CLASS_BYTES + MARGIN, j -> j.field("exception_class", className(failure), CLASS_BYTES));
        json.attempt(MESSAGE_BYTES + MARGIN, j -> j.field("exception_message", message(failure), MESSAGE_BYTES));
        json.attempt(CLASS_BYTES + MARGIN, j -> j.field("root_class", className(root), CLASS_BYTES));
        json.attempt(MESSAGE_BYTES + MARGIN, j -> j.field("root_message", message(root), MESSAGE_BYTES));
        json.attempt(CHAIN_BYTES, j -> writeChain(j, chain));
        json.attempt(json.room(), j -> j.field("stack_trace", stackTrace(failure, j.room()), j.room() - MARGIN));
    }

    /** Outermost first; ends before the first Throwable that is seen twice. */
    static List<Throwable> chain(Throwable failure) {
        Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>());
        List<Throwable> chain = new ArrayList<>();
        for (Throwable t = failure; t != null && chain.size() < CHAIN_WALKED && seen.add(t); t = cause(t)) {
            chain.add(t);
        }
        return chain;
    }

    /** Lists the outermost causes that have room, and always the root. */
    private static void writeChain(Json json, List<Throwable> chain) {
        json.key("exception_chain").beginArray();
        int last = chain.size() - 1;
        for (int i = 0; i < Math.min(last, CHAIN_LISTED - 1); i++) {
            Throwable t = chain.get(i);
            if (!json.attempt(json.room() - 2 * CHAIN_MESSAGE_BYTES, j -> writeLink(j, t))) {
                break;
            }
        }
        writeLink(json, chain.get(last));
        json.endArray();
    }

    private static void writeLink(Json json, Throwable t) {
        json.beginObject();
        json.field("class", className(t), CLASS_BYTES);
        json.field("message", message(t), CHAIN_MESSAGE_BYTES);
        json.endObject();
    }

    private static Throwable cause(Throwable t) {
        try {
            return t.getCause();
        } catch (Throwable u) {
            return null;
        }
    }

    private static String className(Throwable t) {
        return t instanceof SerializedThrowable
                ? ((SerializedThrowable) t).getOriginalErrorClassName()
                : t.getClass().getName();
    }

    private static String message(Throwable t) {
        String message;
        try {
            message = t.getMessage();
        } catch (Throwable u) {
            return null;
        }
        if (!(t instanceof SerializedThrowable) || message == null) {
            return message;
        }
        // Its message is the original's toString, and that of one in another begins with its own class.
        return withoutClass(withoutClass(message, SerializedThrowable.class.getName()), className(t));
    }

    private static String withoutClass(String message, String name) {
        if (message == null || message.equals(name)) {
            return null;
        }
        return message.startsWith(name + ": ") ? message.substring(name.length() + 2) : message;
    }

    private static String stackTrace(Throwable t, int maxCharacters) {
        Text text = new Text(maxCharacters);
        try {
            t.printStackTrace(new PrintWriter(text));
        } catch (Throwable u) {
            // Full, or user code that fails: what has been printed so far is good.
        }
        return text.text.length() == 0 ? className(t) : text.text.toString();
    }

    /** Takes so many characters and then stops whoever prints. */
    private static final class Text extends Writer {
        final StringBuilder text = new StringBuilder();
        final int max;

        Text(int max) {
            this.max = max;
        }

        @Override
        public void write(char[] characters, int offset, int count) {
            int room = max - text.length();
            text.append(characters, offset, Math.min(room, count));
            if (count > room) {
                throw new Json.Full();
            }
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    }
}
