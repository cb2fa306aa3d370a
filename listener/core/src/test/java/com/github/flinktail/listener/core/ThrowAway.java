package com.github.flinktail.listener.core;

import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.lang.ref.WeakReference;
import java.security.ProtectionDomain;
import java.util.ArrayList;
import java.util.List;

/** A class loader such as a job has: its own copies of the named classes, and to be forgotten after the job. */
public final class ThrowAway extends ClassLoader {
    private final String prefix;

    /** @param prefix of the names of the classes to load anew */
    public ThrowAway(Class<?> prefix) {
        super(prefix.getClassLoader());
        this.prefix = prefix.getName();
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        synchronized (getClassLoadingLock(name)) {
            if (!name.startsWith(prefix)) {
                return super.loadClass(name, resolve);
            }
            Class<?> loaded = findLoadedClass(name);
            return loaded != null ? loaded : define(name);
        }
    }

    private Class<?> define(String name) throws ClassNotFoundException {
        try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
            byte[] bytes = in.readAllBytes();
            // With a protection domain of this loader, as a job's classes have.
            return defineClass(name, bytes, 0, bytes.length, new ProtectionDomain(null, null, this, null));
        } catch (IOException e) {
            throw new ClassNotFoundException(name, e);
        }
    }

    /** Makes an object of the named class. */
    public <T> T make(Class<?> type, Class<T> as) throws ReflectiveOperationException {
        var constructor = loadClass(type.getName()).getDeclaredConstructor();
        constructor.setAccessible(true);
        return as.cast(constructor.newInstance());
    }

    /** Something done with a job's class loader. */
    public interface Use {
        void of(ThrowAway loader) throws Exception;
    }

    /** Does it with so many class loaders, and fails unless all of them can be collected afterwards. */
    public static void andForget(int times, Class<?> prefix, Use use) throws Exception {
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        int classes = 0;
        int threads = 0;
        for (int i = 0; i < times; i++) {
            if (i == times / 10) {
                collect(loaders);
                classes = ManagementFactory.getClassLoadingMXBean().getLoadedClassCount();
                threads = Thread.activeCount();
            }
            ThrowAway loader = new ThrowAway(prefix);
            use.of(loader);
            loaders.add(new WeakReference<>(loader));
            loader = null;
        }
        collect(loaders);
        int more = ManagementFactory.getClassLoadingMXBean().getLoadedClassCount() - classes;
        if (more > times / 5) {
            throw new AssertionError(more + " more classes are loaded than after the first tenth");
        }
        if (Thread.activeCount() > threads + 1) {
            throw new AssertionError("threads grew from " + threads + " to " + Thread.activeCount());
        }
    }

    private static void collect(List<WeakReference<ClassLoader>> loaders) {
        // In less time than an idle sender takes to end: its thread must not be what holds them.
        Receiver.until(() -> {
            System.gc();
            return loaders.stream().allMatch(loader -> loader.get() == null);
        }, 6);
    }
}
