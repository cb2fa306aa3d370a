package com.github.flinktail.listener.status;

import java.lang.reflect.Method;

/** Calls methods of objects whose classes are not known here. Keeps no reference to what it finds. */
final class Getter {

    private Getter() {}

    /** The value of {@code target.name()}; null if there is no such method, no target, or it throws. */
    static Object call(Object target, String name) {
        try {
            return target == null ? null : call(target, target.getClass().getMethod(name));
        } catch (Throwable t) {
            return null;
        }
    }

    static Object call(Object target, Method method) throws ReflectiveOperationException {
        // A public method of a class that is not public is closed without it.
        method.trySetAccessible();
        return method.invoke(target);
    }
}
