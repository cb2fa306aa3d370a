package com.github.flinktail.listener.enricher;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.reflect.Method;
import org.apache.flink.core.failure.FailureEnricher;

/**
 * The job that a failure belongs to. Flink 1.18 has getJobId and getJobName, 2.0 only getJobInfo and
 * the releases between have both, so neither can be called directly.
 */
final class JobOf {
    private static final MethodHandle INFO = find(FailureEnricher.Context.class, "getJobInfo");
    private static final Class<?> HOLDER = INFO == null ? FailureEnricher.Context.class : INFO.type().returnType();
    private static final MethodHandle ID = find(HOLDER, "getJobId");
    private static final MethodHandle NAME = find(HOLDER, "getJobName");

    /** Hexadecimal; null when Flink does not tell. */
    final String id;
    /** Null when Flink does not tell. */
    final String name;

    private JobOf(String id, String name) {
        this.id = id;
        this.name = name;
    }

    static JobOf context(FailureEnricher.Context context) {
        Object holder = INFO == null ? context : call(INFO, context);
        return new JobOf(text(ID, holder), text(NAME, holder));
    }

    private static MethodHandle find(Class<?> type, String name) {
        try {
            Method method = type.getMethod(name);
            return MethodHandles.publicLookup().unreflect(method);
        } catch (ReflectiveOperationException | LinkageError e) {
            return null;
        }
    }

    private static String text(MethodHandle method, Object target) {
        Object value = method == null || target == null ? null : call(method, target);
        return value == null ? null : value.toString();
    }

    private static Object call(MethodHandle method, Object target) {
        try {
            return method.invoke(target);
        } catch (Throwable t) {
            return null;
        }
    }
}
