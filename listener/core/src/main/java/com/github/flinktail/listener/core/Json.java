package com.github.flinktail.listener.core;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Writes one JSON text into a byte array that never grows past a limit.
 *
 * <p>Commas are decided by the last byte written, so {@link #cut} can take back whatever followed a
 * {@link #mark} and writing goes on from there. Not safe for use by several threads.
 */
public final class Json {

    /** Thrown when the limit is reached. What was written since the last mark has to be cut. */
    public static final class Full extends RuntimeException {
        Full() {
            super("json text is full", null, false, false);
        }
    }

    /** A part of a JSON text that may be given up without giving up the rest. */
    public interface Part {
        void write(Json json);
    }

    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);
    private static final int LONGEST_CHARACTER = 6;
    private static final int ELLIPSIS = 3;
    private static final int FIELD_BYTES = 1024;

    private byte[] bytes = new byte[512];
    private int length;
    private int limit;

    /** A text of at most {@code limit} bytes. */
    public Json(int limit) {
        this.limit = limit;
    }

    public Json beginObject() {
        comma();
        return raw('{');
    }

    public Json endObject() {
        return raw('}');
    }

    public Json beginArray() {
        comma();
        return raw('[');
    }

    public Json endArray() {
        return raw(']');
    }

    public Json key(String key) {
        comma();
        quoted(key, FIELD_BYTES);
        return raw(':');
    }

    /** Writes a string, cut to {@code maxBytes} of JSON with an ellipsis at its end. */
    public Json string(String value, int maxBytes) {
        comma();
        return quoted(value, maxBytes);
    }

    public Json number(long value) {
        comma();
        return ascii(Long.toString(value));
    }

    /** JSON knows neither NaN nor infinity: they are written as strings. */
    public Json number(double value) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            return string(Double.toString(value), FIELD_BYTES);
        }
        comma();
        return ascii(Double.toString(value));
    }

    public Json bool(boolean value) {
        comma();
        return ascii(value ? "true" : "false");
    }

    /** Writes a field of at most 1 KiB; one without a value is left out. */
    public Json field(String key, String value) {
        return field(key, value, FIELD_BYTES);
    }

    /** Writes a field of at most {@code maxBytes}; one without a value is left out. */
    public Json field(String key, String value, int maxBytes) {
        return value == null || value.isEmpty() ? this : key(key).string(value, maxBytes);
    }

    /**
     * Writes a part within at most {@code maxBytes} more, or takes it back whole.
     *
     * @return whether the part was kept. Whatever it throws means that it was not.
     */
    public boolean attempt(int maxBytes, Part part) {
        int mark = length;
        int outer = limit;
        limit = Math.min(outer, mark + maxBytes);
        try {
            part.write(this);
            return true;
        } catch (Throwable t) {
            length = mark;
            return false;
        } finally {
            limit = outer;
        }
    }

    /** How many bytes may still be written. */
    public int room() {
        return limit - length;
    }

    public byte[] toBytes() {
        return Arrays.copyOf(bytes, length);
    }

    private void comma() {
        if (length == 0) {
            return;
        }
        byte last = bytes[length - 1];
        if (last != '{' && last != '[' && last != ':') {
            raw(',');
        }
    }

    private Json quoted(String value, int maxBytes) {
        raw('"');
        int end = length + maxBytes;
        // The place to cut at, kept while an ellipsis still fits behind it.
        int cut = length;
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            int point = c;
            if (Character.isSurrogate(c)) {
                boolean pair = Character.isHighSurrogate(c)
                        && i + 1 < value.length()
                        && Character.isLowSurrogate(value.charAt(i + 1));
                point = pair ? Character.toCodePoint(c, value.charAt(++i)) : 0xFFFD;
            }
            character(point);
            if (length > end) {
                length = cut;
                character(0x2026);
                break;
            }
            if (length <= end - ELLIPSIS) {
                cut = length;
            }
        }
        return raw('"');
    }

    private void character(int point) {
        reserve(LONGEST_CHARACTER);
        switch (point) {
            case '"':
            case '\\':
                escape(point);
                return;
            case '\n':
                escape('n');
                return;
            case '\r':
                escape('r');
                return;
            case '\t':
                escape('t');
                return;
            default:
        }
        if (point < 0x20 || point == 0x7F) {
            escape('u');
            put('0');
            put('0');
            put(HEX[point >> 4]);
            put(HEX[point & 0xF]);
        } else if (point < 0x80) {
            put(point);
        } else if (point < 0x800) {
            put(0xC0 | point >> 6);
            put(0x80 | point & 0x3F);
        } else if (point < 0x10000) {
            put(0xE0 | point >> 12);
            put(0x80 | point >> 6 & 0x3F);
            put(0x80 | point & 0x3F);
        } else {
            put(0xF0 | point >> 18);
            put(0x80 | point >> 12 & 0x3F);
            put(0x80 | point >> 6 & 0x3F);
            put(0x80 | point & 0x3F);
        }
    }

    private void escape(int c) {
        put('\\');
        put(c);
    }

    private Json ascii(String text) {
        reserve(text.length());
        for (int i = 0; i < text.length(); i++) {
            put(text.charAt(i));
        }
        return this;
    }

    private Json raw(char c) {
        reserve(1);
        put(c);
        return this;
    }

    private void put(int b) {
        bytes[length++] = (byte) b;
    }

    private void reserve(int more) {
        if (more > limit - length) {
            throw new Full();
        }
        if (length + more > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(length + more, bytes.length * 2));
        }
    }
}
