#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The only node of a Ganeti cluster: the first process of namespaces of its own (tests/ganeti/cluster.py).
#   node.sh DIRECTORY USERS
# Nothing is written outside DIRECTORY: what Ganeti writes to is in memory, and gone with the namespaces.
set -eu
directory=$1 users=$2
mount -t sysfs none /sys # of this network: Ganeti looks for bridges there
mkdir -p "$directory/memory"
mount -t tmpfs -o mode=755 none "$directory/memory"
for place in etc root; do
  mkdir "$directory/memory/$place" "$directory/memory/$place.work"
  mount -t overlay -o "lowerdir=/$place,upperdir=$directory/memory/$place,workdir=$directory/memory/$place.work" none "/$place"
done
for place in /run /srv /var/lib/ganeti /var/log/ganeti; do
  mount -t tmpfs -o mode=755 none "$place"
done
mkdir -p /run/lock /run/netns

hostname node1.gnt.test
cat >/etc/hosts <<END
127.0.0.1 localhost
10.99.0.1 node1.gnt.test node1
10.99.0.2 cluster.gnt.test cluster
END
sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf
ip link set lo up
ip link add gnt0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip addr add 10.99.0.1/24 dev gnt0
ip link set gnt0 up
ip link set tests master gnt0 up

mkdir -p /srv/ganeti/os/noop /srv/ganeti/file-storage
for script in create export import rename verify; do
  printf '#!/bin/sh\nexit 0\n' >"/srv/ganeti/os/noop/$script"
  chmod +x "/srv/ganeti/os/noop/$script"
done
echo 20 >/srv/ganeti/os/noop/ganeti_api_version
echo default >/srv/ganeti/os/noop/variants.list
echo 'seed What an amphora begins with' >/srv/ganeti/os/noop/parameters.list
echo /srv/ganeti/file-storage >/etc/ganeti/file-storage-paths
sed -i 's/^RAPI_ARGS=.*/RAPI_ARGS="-b 0.0.0.0 --require-authentication"/' /etc/default/ganeti

smallest=cpu-count=1,disk-count=0,disk-size=16,memory-size=128,nic-count=1,spindle-use=1
largest=cpu-count=8,disk-count=16,disk-size=1048576,memory-size=32768,nic-count=8,spindle-use=12
gnt-cluster init --no-ssh-init --no-etc-hosts --master-netdev=gnt0 --enabled-hypervisors=fake \
  --enabled-disk-templates=file,diskless --ipolicy-disk-templates=file,diskless --ipolicy-vcpu-ratio=64 \
  --ipolicy-bounds-specs="min:$smallest/max:$largest" \
  --file-storage-dir=/srv/ganeti/file-storage --nic-parameters=mode=bridged,link=gnt0 cluster.gnt.test
gnt-network add --network=10.99.0.0/24 --gateway=10.99.0.3 amphorae
gnt-network connect --nic-parameters=mode=bridged,link=gnt0 amphorae
# RAPI reads the file when it is closed or moved there: by then it has to be readable.
install -o gnt-rapi -g gnt-rapi -m 640 "$users" /var/lib/ganeti/rapi/users.new
mv /var/lib/ganeti/rapi/users.new /var/lib/ganeti/rapi/users
touch "$directory/up"
# The first process of its namespace ends what has lost its parent: bash does, while it waits.
while :; do
  sleep 3600 &
  wait $!
done
