package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Json;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Writes objects of unknown classes as JSON, without the credentials in them: bounded in depth, number
 * and time, because they may be cyclic, endless or slow.
 */
final class Values {
    private static final int DEPTH = 5;
    /** Kept free in each object and list for what ends it. */
    private static final int CLOSER = 2;
    private static final int NODES = 5000;
    private static final int ELEMENTS = 200;
    private static final long NANOS = 250_000_000L;
    private static final int STRING_BYTES = 4096;

    private final long deadline = System.nanoTime() + NANOS;
    private int nodes = NODES;
    private int depth;
    private boolean cut;

    /** Whether something had to be left out. */
    boolean cut() {
        return cut;
    }

    /** Writes a part of what is being written, or leaves it out. */
    void attempt(Json json, Json.Part part) {
        int outer = depth;
        if (!json.attempt(json.room() - CLOSER, part)) {
            depth = outer;
            cut = true;
        }
    }

    /** Writes a value that is not null. */
    void write(Json json, Object value) {
        write(json, value, "");
    }

    void writeList(Json json, Iterable<?> list) {
        writeList(json, list, "");
    }

    /** Writes what the getters of an object say, and those of the objects of its package inside it. */
    void writeBean(Json json, Object bean) {
        writeBean(json, bean, bean.getClass().getPackageName());
    }

    private void write(Json json, Object value, String beans) {
        if (value instanceof Map) {
            writeMap(json, (Map<?, ?>) value, beans);
        } else if (value instanceof Iterable) {
            writeList(json, (Iterable<?>) value, beans);
        } else if (value instanceof Object[]) {
            writeList(json, Arrays.asList((Object[]) value), beans);
        } else if (value instanceof Boolean) {
            json.bool((Boolean) value);
        } else if (value instanceof Long || value instanceof Integer || value instanceof Short || value instanceof Byte) {
            json.number(((Number) value).longValue());
        } else if (value instanceof Double || value instanceof Float) {
            json.number(((Number) value).doubleValue());
        } else if (!(value instanceof Enum) && value.getClass().getPackageName().equals(beans)) {
            writeBean(json, value, beans);
        } else {
            json.string(Redaction.text(text(value)), STRING_BYTES);
        }
    }

    private void writeMap(Json json, Map<?, ?> map, String beans) {
        enter();
        json.beginObject();
        int count = 0;
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            if (spent(count++)) {
                break;
            }
            attempt(json, j -> writeMember(j, String.valueOf(entry.getKey()), entry.getValue(), beans));
        }
        json.endObject();
        depth--;
    }

    private void writeList(Json json, Iterable<?> list, String beans) {
        enter();
        json.beginArray();
        int count = 0;
        for (Object element : list) {
            if (spent(count++)) {
                break;
            }
            Object value = unwrap(element);
            if (value != null) {
                attempt(json, j -> write(j, value, beans));
            }
        }
        json.endArray();
        depth--;
    }

    private void writeBean(Json json, Object bean, String beans) {
        enter();
        json.beginObject();
        int count = 0;
        for (Map.Entry<String, Method> getter : getters(bean.getClass()).entrySet()) {
            if (spent(count++)) {
                break;
            }
            attempt(json, j -> writeMember(j, getter.getKey(), value(bean, getter.getValue()), beans));
        }
        json.endObject();
        depth--;
    }

    private void writeMember(Json json, String key, Object member, String beans) {
        Object value = unwrap(member);
        if (value == null) {
            return;
        }
        json.key(key);
        if (Redaction.secret(key)) {
            json.string(Redaction.MASK, STRING_BYTES);
        } else {
            write(json, value, beans);
        }
    }

    private void enter() {
        if (++depth > DEPTH) {
            throw new IllegalStateException("too deep");
        }
    }

    /** Whether no more is to be spent on this event, or on the object that so many elements have come from. */
    private boolean spent(int elements) {
        boolean spent = elements == ELEMENTS || --nodes < 0 || System.nanoTime() - deadline > 0;
        cut |= spent;
        return spent;
    }

    private static Object unwrap(Object value) {
        return value instanceof Optional ? ((Optional<?>) value).orElse(null) : value;
    }

    private static Object value(Object bean, Method getter) {
        try {
            return Getter.call(bean, getter);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** By the name of their property, in its order. */
    private static Map<String, Method> getters(Class<?> type) {
        Map<String, Method> getters = new TreeMap<>();
        for (Method method : type.getMethods()) {
            String name = method.getName();
            int prefix = name.startsWith("get") ? 3 : name.startsWith("is") && method.getReturnType() == boolean.class ? 2 : 0;
            if (prefix == 0
                    || name.length() == prefix
                    || method.getParameterCount() > 0
                    || method.isBridge()
                    || Modifier.isStatic(method.getModifiers())
                    || method.getReturnType() == void.class
                    || method.getDeclaringClass() == Object.class) {
                continue;
            }
            getters.put(Character.toLowerCase(name.charAt(prefix)) + name.substring(prefix + 1), method);
        }
        return getters;
    }

    /** Its own words, or its class if it has none. */
    private static String text(Object value) {
        String text = value.toString();
        boolean identity = text != null && text.startsWith(value.getClass().getName() + "@");
        return text == null || identity ? value.getClass().getName() : text;
    }
}
