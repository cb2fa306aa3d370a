package com.github.flinktail.listener.core;

import java.lang.reflect.Constructor;
import java.security.AccessController;
import java.security.PrivilegedAction;

/**
 * Makes threads that inherit nothing from the job on whose behalf they happen to be started: no
 * context class loader, no inheritable thread local, no thread group and no access control context,
 * each of which would keep the job's classes loaded for as long as the thread lives.
 */
final class Threads {

    private Threads() {}

    static Thread daemon(String name, Runnable task) {
        Thread thread = withoutCallersDomains(() -> create(name, task));
        thread.setDaemon(true);
        thread.setContextClassLoader(ClassLoader.getSystemClassLoader());
        // Flink may end the process from its default handler for uncaught exceptions.
        thread.setUncaughtExceptionHandler((t, e) -> Log.warn("flinktail: " + name + " ended: " + Log.line(e)));
        return thread;
    }

    private static Thread create(String name, Runnable task) {
        ThreadGroup group = Thread.currentThread().getThreadGroup();
        while (group.getParent() != null) {
            group = group.getParent();
        }
        try {
            // Since Java 9; before it, inheritable thread locals cannot be declined.
            Constructor<Thread> constructor = Thread.class.getConstructor(
                    ThreadGroup.class, Runnable.class, String.class, long.class, boolean.class);
            return constructor.newInstance(group, task, name, 0L, false);
        } catch (ReflectiveOperationException e) {
            return new Thread(group, task, name);
        }
    }

    @SuppressWarnings("removal") // Later JDKs deprecate it; the ones up to 23 need it.
    private static Thread withoutCallersDomains(PrivilegedAction<Thread> action) {
        try {
            return AccessController.doPrivileged(action);
        } catch (LinkageError e) {
            return action.run();
        }
    }
}
